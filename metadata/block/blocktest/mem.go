package blocktest

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"

	"thinpool/metadata/block"
)

// ErrFailed is returned by a [Mem] for reads and writes it was told to fail.
var ErrFailed = errors.New("simulated device failure")

// A Mem is an in-memory device for tests. It tracks what was flushed, and can simulate failing
// reads, failing writes and a power cut.
type Mem struct {
	mu      sync.Mutex
	data    []byte  // as readers see it now
	stable  []byte  // as of the last flush
	since   []write // since the last flush
	badRead map[block.Nr]bool
	left    int // writes and flushes until they fail; negative: never
	ops     int // writes and flushes so far
}

// A write is one WriteAt since the last flush.
type write struct {
	off int64
	p   []byte
}

// NewMem returns a device of size bytes, all zero.
func NewMem(size int64) *Mem { return NewMemFrom(make([]byte, size)) }

// NewMemFrom returns a device with the content p. It takes ownership of p.
func NewMemFrom(p []byte) *Mem { return &Mem{data: p, stable: slices.Clone(p), left: -1} }

// FailReads makes reads of these blocks fail from now on.
func (m *Mem) FailReads(nrs ...block.Nr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.badRead == nil {
		m.badRead = map[block.Nr]bool{}
	}
	for _, nr := range nrs {
		m.badRead[nr] = true
	}
}

// FailWritesAfter lets n more writes and flushes succeed; all later ones fail.
func (m *Mem) FailWritesAfter(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = n
}

// Ops returns the number of writes and flushes that succeeded so far.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// Crash returns the device as a power cut could leave it now: everything that was flushed, plus
// any subset of the sectors written since, in any order. The seed chooses the subset.
func (m *Mem) Crash(seed int) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	left := slices.Clone(m.stable)
	keep := rnd.Float64()
	for _, i := range rnd.Perm(len(m.since)) {
		w := m.since[i]
		for at := 0; at < len(w.p); at += block.SectorSize {
			if rnd.Float64() < keep {
				copy(left[w.off+int64(at):], w.p[at:min(at+block.SectorSize, len(w.p))])
			}
		}
	}
	return NewMemFrom(left)
}

// Contents returns a copy of what readers see now.
func (m *Mem) Contents() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data)
}

// ReadAt implements [block.Device].
func (m *Mem) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off < 0 || off > int64(len(m.data)) {
		return 0, io.EOF
	}
	for nr := block.Nr(off / block.Size); len(m.badRead) > 0 && int64(nr)*block.Size < off+int64(len(p)); nr++ {
		if m.badRead[nr] {
			return 0, ErrFailed
		}
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [block.Device].
func (m *Mem) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		return 0, io.ErrShortWrite
	}
	ok := m.spend()
	// A failed write may have reached the medium in part.
	m.since = append(m.since, write{off, slices.Clone(p)})
	if !ok {
		return 0, ErrFailed
	}
	return copy(m.data[off:], p), nil
}

// Flush implements [block.Device].
func (m *Mem) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.spend() {
		return ErrFailed
	}
	for _, w := range m.since {
		copy(m.stable[w.off:], w.p)
	}
	m.since = m.since[:0]
	return nil
}

// spend counts one write or flush; false if it must fail.
func (m *Mem) spend() bool {
	if m.left == 0 {
		return false
	}
	if m.left > 0 {
		m.left--
	}
	m.ops++
	return true
}

// Size implements [block.Device].
func (m *Mem) Size() int64 { return int64(len(m.data)) }

// Close implements [block.Device].
func (m *Mem) Close() error { return nil }

// An Unflushed is a device with writes of an earlier process still in a cache. Writes fail before
// the first flush, because until then, the content of the disk is unknown.
type Unflushed struct {
	*Mem
	flushed bool
}

// WriteAt implements [io.WriterAt].
func (u *Unflushed) WriteAt(p []byte, off int64) (int, error) {
	if !u.flushed {
		return 0, errors.New("a write before the cache was flushed")
	}
	return u.Mem.WriteAt(p, off)
}

// Flush implements [block.Device].
func (u *Unflushed) Flush() error {
	u.flushed = true
	return u.Mem.Flush()
}
