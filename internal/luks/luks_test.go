package luks_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"thinpool/internal/luks"
)

const anyMemory = 1 << 40

func open(t *testing.T, image []byte) *luks.Header {
	t.Helper()
	h, err := luks.Open(t.Context(), bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func unlock(t *testing.T, h *luks.Header, key string) *luks.Volume {
	t.Helper()
	v, err := h.Unlock(t.Context(), []byte(key), anyMemory)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// content reads the whole volume.
func content(t *testing.T, v *luks.Volume) []byte {
	t.Helper()
	p := make([]byte, v.Size())
	if n, err := v.ReadAt(p, 0); n != len(p) || err != nil {
		t.Fatalf("%d of %d bytes, %v", n, len(p), err)
	}
	return p
}

// disks lists all ways to create a disk.
var disks = map[string]disk{
	"luks1 xts 512":         {version: 1},
	"luks1 xts 256":         {version: 1, keySize: 32, hash: "sha1"},
	"luks1 cbc essiv":       {version: 1, keySize: 32, cipher: "aes-cbc-essiv:sha256", hash: "sha1"},
	"luks1 cbc plain":       {version: 1, keySize: 16, cipher: "aes-cbc-plain", hash: "sha512"},
	"luks1 4000 stripes":    {version: 1, keySize: 16, cipher: "aes-cbc-plain64", stripes: 1000},
	"luks1 one stripe":      {version: 1, stripes: 1},
	"luks2 pbkdf2":          {},
	"luks2 argon2i":         {kdf: "argon2i"},
	"luks2 argon2id":        {kdf: "argon2id", sectorSize: 4096},
	"luks2 1024":            {sectorSize: 1024, keySize: 48},
	"luks2 2048":            {sectorSize: 2048, keySize: 32, hash: "sha512"},
	"luks2 cbc 4096":        {sectorSize: 4096, keySize: 24, cipher: "aes-cbc-plain64"},
	"luks2 plain wraps":     {tweak: 1<<32 - 5, cipher: "aes-xts-plain"},
	"luks2 plain64 goes on": {tweak: 1<<32 - 5},
	"luks2 large":           {size: 3<<20 + 512},
	"luks2 short sector":    {size: 64<<10 + 4096, sectorSize: 4096},
}

func TestDisks(t *testing.T) {
	for name, d := range disks {
		t.Run(name, func(t *testing.T) {
			image, want := d.make()
			d = d.sane()
			if !luks.Recognise(image[:luks.Probe]) {
				t.Error("not recognised")
			}
			h := open(t, image)
			if h.Version != d.version || h.UUID != uuid || h.Cipher != d.cipher || h.SectorSize != d.sectorSize ||
				h.Offset != dataAt || h.Size != int64(len(want)) || len(h.Slots) != 1 || h.Notes != nil {
				t.Errorf("%+v", h)
			}
			if _, err := h.Unlock(t.Context(), []byte("sesame"), anyMemory); err != luks.ErrWrongKey {
				t.Errorf("a wrong key: %v", err)
			}
			v := unlock(t, h, "secret")
			if v.Size() != int64(len(want)) || !bytes.Equal(content(t, v), want) {
				t.Fatal("other bytes")
			}
			for range 300 {
				off := rand.Int64N(v.Size())
				n := rand.Int64N(min(v.Size()-off, 20000)) + 1
				p := make([]byte, n)
				if got, err := v.ReadAt(p, off); got != len(p) || err != nil && err != io.EOF || !bytes.Equal(p, want[off:off+n]) {
					t.Fatalf("%d bytes at %d: %d, %v", n, off, got, err)
				}
			}
		})
	}
}

func TestHeader(t *testing.T) {
	image, _ := disk{kdf: "argon2id", passwords: []string{"one", "two"}}.make()
	h := open(t, image)
	if h.Label != "a label" || h.Memory() != 64<<10 {
		t.Errorf("label %q, memory %d", h.Label, h.Memory())
	}
	for i, s := range h.Slots {
		if s.Number != i || s.KDF != "argon2id" || s.Iterations != 2 || s.Threads != 3 || s.Memory != 64<<10 || s.Hash != "" || s.Err != nil {
			t.Errorf("%+v", s)
		}
	}
	image, _ = disk{version: 1}.make()
	h = open(t, image)
	if s := h.Slots[0]; s.Number != 1 || s.KDF != "pbkdf2" || s.Hash != "sha256" || s.Iterations != iterations || s.Memory != 0 || h.Memory() != 0 {
		t.Errorf("%+v", s)
	}
}

func TestEdges(t *testing.T) {
	image, want := disk{}.make()
	v := unlock(t, open(t, image), "secret")
	size := int64(len(want))
	p := make([]byte, 1000)
	if n, err := v.ReadAt(p, size-300); n != 300 || err != io.EOF || !bytes.Equal(p[:n], want[size-300:]) {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if n, err := v.ReadAt(p, size); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
	if n, err := v.ReadAt(p[:0], 5); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
	if _, err := v.ReadAt(p, -1); err == nil {
		t.Error("no error before the start")
	}
}

// Any slot opens the disk. Slots with higher priority are tried first. A slot with unmet needs does
// not keep the others from being tried.
func TestSlots(t *testing.T) {
	for _, version := range []int{1, 2} {
		image, want := disk{version: version, passwords: []string{"one", "two", "three"}}.make()
		h := open(t, image)
		for _, password := range []string{"one", "two", "three"} {
			if v := unlock(t, h, password); !bytes.Equal(content(t, v), want) {
				t.Errorf("LUKS%d with %s: other bytes", version, password)
			}
		}
	}
	image, want := disk{passwords: []string{"one", "two"}, edit: func(m object) {
		kdf := at(m, "keyslots", "0", "kdf")
		kdf["type"], kdf["time"], kdf["memory"], kdf["cpus"] = "argon2id", 1, 8<<20, 4
	}}.make()
	h := open(t, image)
	if h.Memory() != 8<<30 {
		t.Errorf("memory %d", h.Memory())
	}
	v, err := h.Unlock(t.Context(), []byte("two"), 4<<30)
	if err != nil || !bytes.Equal(content(t, v), want) {
		t.Errorf("the second slot: %v", err)
	}
	_, err = h.Unlock(t.Context(), []byte("three"), 4<<30)
	if !errors.Is(err, luks.ErrWrongKey) || !strings.Contains(err.Error(), "key slot 0: it needs 8192MiB of memory, more than the 4096MiB allowed") {
		t.Errorf("a wrong key: %v", err)
	}
}

func TestPriority(t *testing.T) {
	// Both slots have the same password, but the first one leads to a wrong key.
	for priority, want := range map[int]bool{2: true, 0: false} {
		image, _ := disk{passwords: []string{"one", "two"}, edit: func(m object) {
			at(m, "keyslots", "1")["priority"] = priority
			at(m, "keyslots", "0", "area")["offset"] = "1073741824"
		}}.make()
		r := &reads{r: bytes.NewReader(image)}
		h, err := luks.Open(t.Context(), r, 2<<30)
		if err != nil {
			t.Fatal(err)
		}
		r.at = nil
		if _, err := h.Unlock(t.Context(), []byte("two"), anyMemory); err != nil {
			t.Fatal(err)
		}
		if got := r.at[0] == int64(areaOf(1)); got != want {
			t.Errorf("priority %d: the first read is at %d", priority, r.at[0])
		}
	}
}

// reads records the offsets of reads.
type reads struct {
	r  io.ReaderAt
	at []int64
}

func (r *reads) ReadAt(p []byte, off int64) (int, error) {
	r.at = append(r.at, off)
	return r.r.ReadAt(p, off)
}

// Concurrent reads, including large ones, do not interfere.
func TestConcurrent(t *testing.T) {
	image, want := disk{size: 2 << 20, sectorSize: 4096}.make()
	v := unlock(t, open(t, image), "secret")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				off := int64(i*100_000 + j*777)
				p := make([]byte, 600_000)
				if n, err := v.ReadAt(p, off); n != len(p) || err != nil || !bytes.Equal(p, want[off:][:len(p)]) {
					t.Errorf("at %d: %d, %v", off, n, err)
				}
			}
		})
	}
	wg.Wait()
}

// broken is unreadable from one offset on.
type broken struct {
	r  io.ReaderAt
	at int64
}

var errDevice = errors.New("device failed")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) <= b.at {
		return b.r.ReadAt(p, off)
	}
	n := max(b.at-off, 0)
	if n > 0 {
		b.r.ReadAt(p[:n], off)
	}
	return int(n), errDevice
}

// Data before an unreadable position is correct, and the count says how much there is.
func TestReadErrors(t *testing.T) {
	image, want := disk{size: 1 << 20}.make()
	for _, bad := range []int64{0, 100, 512, 5000, 200_000, 700_001} {
		r := broken{bytes.NewReader(image), dataAt + bad}
		h, err := luks.Open(t.Context(), r, int64(len(image)))
		if err != nil {
			t.Fatal(err)
		}
		v := unlock(t, h, "secret")
		for _, off := range []int64{0, 77} {
			p := make([]byte, v.Size()-off)
			n, err := v.ReadAt(p, off)
			if !errors.Is(err, errDevice) || !bytes.Equal(p[:n], want[off:][:n]) {
				t.Errorf("bad from %d on, read from %d: %d, %v", bad, off, n, err)
			}
			if least := max(bad/512*512-off, 0); int64(n) != least {
				t.Errorf("bad from %d on, read from %d: %d bytes, want %d", bad, off, n, least)
			}
		}
	}
	// The area of the only slot.
	h, err := luks.Open(t.Context(), broken{bytes.NewReader(image), int64(areaOf(0))}, int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = h.Unlock(t.Context(), []byte("secret"), anyMemory); err == nil || !strings.Contains(err.Error(), "key slot 0: 512 bytes at byte 32768: device failed") {
		t.Errorf("area: %v", err)
	}
	if _, err := luks.Open(t.Context(), broken{}, 1<<20); !errors.Is(err, errDevice) {
		t.Errorf("header: %v", err)
	}
	if _, err := luks.Open(t.Context(), broken{bytes.NewReader(image), 4096}, 1<<20); !errors.Is(err, errDevice) {
		t.Errorf("JSON: %v", err)
	}
}

// endsWhenAwaited is a context that ends as soon as something waits for its end.
type endsWhenAwaited struct {
	context.Context
	end func()
}

func (c endsWhenAwaited) Done() <-chan struct{} {
	c.end()
	return c.Context.Done()
}

// A very slow key derivation ends with the context, not after it.
func TestCancelled(t *testing.T) {
	image, _ := disk{version: 1, editBinary: func(b []byte, _ int) {
		binary.BigEndian.PutUint32(b[208+48+4:], 5_000_000)
	}}.make()
	h := open(t, image)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := h.Unlock(endsWhenAwaited{ctx, cancel}, []byte("secret"), anyMemory); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := h.Unlock(ctx, nil, anyMemory); err != context.Canceled {
		t.Errorf("cancelled before: %v", err)
	}
	if _, err := luks.Open(ctx, bytes.NewReader(image), int64(len(image))); err != context.Canceled {
		t.Errorf("cancelled before opening: %v", err)
	}
}
