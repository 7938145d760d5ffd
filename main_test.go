package idp

import (
	"testing"

	"idp/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }
