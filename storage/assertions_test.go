package storage_test

import (
	"sync/atomic"
	"testing"

	"idp/storage/storagetest"
)

func TestAnAssertionIsAcceptedOnce(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	var accepted atomic.Int32
	for _, err := range race(12, func(int) error {
		first, err := db.SpendAssertion(t.Context(), "cli_a", "jti", noon())
		if first {
			accepted.Add(1)
		}
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if accepted.Load() != 1 {
		t.Errorf("accepted %d times, want once", accepted.Load())
	}
	if first, err := db.SpendAssertion(t.Context(), "cli_b", "jti", noon()); err != nil || !first {
		t.Errorf("another client's jti = %v, %v; want true", first, err)
	}
}
