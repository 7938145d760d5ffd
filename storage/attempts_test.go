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

func TestARefusalTellsHowLongToWait(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	b := storage.Budget{Key: "k", Every: time.Minute, Burst: 2}
	for i, step := range []struct{ after, wait time.Duration }{
		{0, 0}, {0, 0}, {0, time.Minute}, {20 * time.Second, 40 * time.Second}, {59 * time.Second, time.Second},
		{time.Minute, 0}, {90 * time.Second, 30 * time.Second}, {2 * time.Minute, 0},
	} {
		if wait, err := db.Spend(t.Context(), noon().Add(step.after), b); err != nil || wait != step.wait {
			t.Errorf("step %d after %v: wait %v, %v; want %v", i, step.after, wait, err, step.wait)
		}
	}
}

func TestABurstOfNoneRefusesAll(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	for _, b := range []storage.Budget{{Key: "k", Every: time.Minute}, {Key: "k", Every: time.Minute, Burst: -1}, {Key: "k"}} {
		for i := range 3 {
			if wait, err := db.Spend(t.Context(), noon().Add(time.Duration(i)*time.Hour), b); err != nil || wait <= 0 {
				t.Errorf("%+v, try %d: wait %v, %v; want a refusal", b, i, wait, err)
			}
		}
	}
}

func TestARefusedBudgetSparesThoseAfterIt(t *testing.T) {
	t.Parallel()
	db := storagetest.New(t)
	narrow := storage.Budget{Key: "address", Every: time.Hour, Burst: 1}
	wide := storage.Budget{Key: "site", Every: time.Hour, Burst: 3}
	for range 10 {
		if _, err := db.Spend(t.Context(), noon(), narrow, wide); err != nil {
			t.Fatal(err)
		}
	}
	for i, free := range []bool{true, true, false} { // one try of three is gone
		if wait, err := db.Spend(t.Context(), noon(), wide); err != nil || (wait == 0) != free {
			t.Errorf("try %d of the wide budget waits %v, %v; want free = %v", i, wait, err, free)
		}
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
