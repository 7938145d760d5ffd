package oauth

import (
	"context"
	"net"
	"testing"

	"idp/storage"
)

func TestASectorThatCannotBeReachedIsNoTroubleOfTheDatabase(t *testing.T) {
	t.Parallel()
	c := &storage.Client{ClientMetadata: storage.ClientMetadata{
		SubjectType: "pairwise", SectorURI: "https://sector.test/uris.json", RedirectURIs: []string{"https://rp.test/cb"}}}
	err := SettleSector(context.Background(), c, &storage.Client{}, func(context.Context, string) ([]byte, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "sector.test", IsNotFound: true}
	})
	if err == nil || storage.Unavailable(err) {
		t.Errorf("SettleSector = %v, taken for the database's: %v", err, storage.Unavailable(err))
	}
}
