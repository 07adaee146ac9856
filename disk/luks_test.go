package disk_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
)

// search searches a disk with these bytes.
func search(t *testing.T, how disk.How, p []byte) *disk.Found {
	t.Helper()
	found, err := disk.Search(t.Context(), how, disk.New("image", bytes.NewReader(p), int64(len(p))))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// answers returns a Key function that gives one key after another and records the requests.
func answers(locks *[]disk.Lock, keys ...string) func(context.Context, disk.Lock) ([]byte, error) {
	return func(_ context.Context, lock disk.Lock) ([]byte, error) {
		*locks = append(*locks, lock)
		if lock.Tries >= len(keys) {
			return nil, disk.ErrNoKey
		}
		return []byte(keys[lock.Tries]), nil
	}
}

// An encrypted disk is a layer. Keys are requested until one is right or there are no more.
func TestLUKS(t *testing.T) {
	content := text16(64 << 10)
	inner, err := fixtures.LUKS1(content, "inner")
	if err != nil {
		t.Fatal(err)
	}
	p, err := fixtures.LUKS1(inner, "outer")
	if err != nil {
		t.Fatal(err)
	}
	var locks []disk.Lock
	how := disk.How{Key: answers(&locks, "inner", "outer"), KeyMemory: 1 << 20}
	found := search(t, how, p)
	if len(found.Media) != 3 || len(found.Problems) > 0 {
		t.Fatalf("%d media, problems %v", len(found.Media), found.Problems)
	}
	last := found.Media[2]
	got := make([]byte, len(content))
	if err := last.ReadFull(got, 0); err != nil || !bytes.Equal(got, content) || last.Size() != int64(len(content)) {
		t.Errorf("%d bytes, %v", last.Size(), err)
	}
	if last.String() != "image > LUKS1 > LUKS1" || last.Start() != 0 || last.Image().Name != "image" || len(last.Plain) != 1 || len(found.Media[0].Plain) != 0 {
		t.Errorf("%v at %d of %v", last, last.Start(), last.Image())
	}
	if err := last.Writable(); err == nil || !strings.Contains(err.Error(), "image > LUKS1 > LUKS1 is read-only") {
		t.Errorf("to be written: %v", err)
	}
	var tries []int
	for _, lock := range locks {
		tries = append(tries, lock.Tries)
	}
	if !slices.Equal(tries, []int{0, 1, 0}) || locks[2].Layer != "LUKS1" || locks[2].Disk.String() != "image > LUKS1" {
		t.Errorf("asked for %+v", locks)
	}
}

// Without a key, it stays closed, and a message says so.
func TestLUKSClosed(t *testing.T) {
	p, err := fixtures.LUKS1(make([]byte, 64<<10), "secret")
	if err != nil {
		t.Fatal(err)
	}
	var locks []disk.Lock
	for name, how := range map[string]disk.How{"no keys": {}, "wrong keys": {Key: answers(&locks, "a", "b")}} {
		found := search(t, how, p)
		if m := found.Media[0]; len(found.Media) != 1 || m.Opened+len(m.Plain) > 0 || m.Closed != 1 || !said(found, "image is encrypted (LUKS1): no key opens it") {
			t.Errorf("%s: %+v, problems %v", name, m, found.Problems)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	how := disk.How{Key: func(context.Context, disk.Lock) ([]byte, error) { cancel(); return nil, disk.ErrNoKey }}
	if _, err := disk.Search(ctx, how, disk.New("image", bytes.NewReader(p), int64(len(p)))); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	copy(p[8:], "serpent")
	if found := search(t, disk.How{}, p); found.Media[0].Closed != 1 || !said(found, "image is encrypted (LUKS) and cannot be read: ") {
		t.Errorf("another cipher: problems %v", found.Problems)
	}
}
