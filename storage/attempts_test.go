package storage_test

import (
	"sync/atomic"
	"testing"
	"time"

	"idp/storage"
	"idp/storage/storagetest"
)

func TestABudgetAllowsItsBurstThenOneEach(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	b := storage.Budget{Key: "k", Every: time.Minute, Burst: 3}
	for i, step := range []struct {
		after time.Duration
		free  bool
	}{
		{0, true}, {0, true}, {0, true}, {0, false},
		{59 * time.Second, false}, {time.Minute, true}, {time.Minute, false},
		{2 * time.Minute, true}, {2 * time.Minute, false},
		{time.Hour, true}, {time.Hour, true}, {time.Hour, true}, {time.Hour, false}, // rest saves up one burst, no more
	} {
		wait, err := db.Spend(t.Context(), noon().Add(step.after), b)
		if err != nil || (wait == 0) != step.free || wait < 0 || wait > b.Every {
			t.Errorf("step %d after %v: wait %v, %v; want free = %v", i, step.after, wait, err, step.free)
		}
	}
	if wait, err := db.Spend(t.Context(), noon(), storage.Budget{Key: "other", Every: time.Minute, Burst: 1}); err != nil || wait != 0 {
		t.Errorf("another key waits %v, %v", wait, err)
	}
}

func TestARefundGivesTheTryBack(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	b := storage.Budget{Key: "k", Every: time.Minute, Burst: 1}
	for i := range 5 {
		if wait, err := db.Spend(t.Context(), noon(), b); err != nil || wait != 0 {
			t.Fatalf("try %d waits %v, %v", i, wait, err)
		}
		if err := db.Refund(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // more refunds than tries save nothing up
		if err := db.Refund(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	for i, free := range []bool{true, false} {
		if wait, err := db.Spend(t.Context(), noon(), b); err != nil || (wait == 0) != free {
			t.Errorf("try %d after many refunds waits %v, %v; want free = %v", i, wait, err, free)
		}
	}
}

func TestTheTightestBudgetDecides(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	wide, tight := storage.Budget{Key: "ip", Every: time.Second, Burst: 10}, storage.Budget{Key: "account", Every: time.Minute, Burst: 1}
	for i, free := range []bool{true, false} {
		if wait, err := db.Spend(t.Context(), noon(), wide, tight); err != nil || (wait == 0) != free {
			t.Errorf("try %d waits %v, %v; want free = %v", i, wait, err, free)
		}
	}
}

func TestParallelTriesNeverExceedTheBurst(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	var free atomic.Int32
	for _, err := range race(24, func(int) error {
		wait, err := db.Spend(t.Context(), noon(), storage.Budget{Key: "k", Every: time.Minute, Burst: 5})
		if err == nil && wait == 0 {
			free.Add(1)
		}
		return err
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if free.Load() != 5 {
		t.Errorf("%d of 24 parallel tries were free, want 5", free.Load())
	}
}

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
