package luks

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// piece is how much a goroutine reads and decrypts at once. It is a multiple of all sector sizes.
const piece = 128 << 10

// A Volume is the decrypted content of a LUKS disk. It is safe for concurrent use if the disk is.
type Volume struct {
	r       io.ReaderAt
	offset  int64
	size    int64
	sector  int
	firstIV uint64
	cipher  decrypter
}

func (h *Header) volume(key []byte) (*Volume, error) {
	c, err := newCipher(h.Cipher, key)
	if err != nil {
		return nil, err
	}
	return &Volume{r: h.r, offset: h.Offset, size: h.Size, sector: h.SectorSize, firstIV: h.firstIV, cipher: c}, nil
}

// Size returns the size of the content in bytes.
func (v *Volume) Size() int64 { return v.size }

// ReadAt reads decrypted data at any offset. Several goroutines decrypt large reads.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("luks: negative offset")
	}
	var end error
	if off >= v.size {
		return 0, io.EOF
	}
	if int64(len(p)) > v.size-off {
		p, end = p[:v.size-off], io.EOF
	}
	n, err := v.read(p, off)
	if err != nil {
		return n, err
	}
	return n, end
}

// read fills p, which is within the volume. Partial sectors at the start and the end of p are
// decrypted separately.
func (v *Volume) read(p []byte, off int64) (int, error) {
	size := int64(v.sector)
	done := 0
	if inside := off % size; inside > 0 || int64(len(p)) < size {
		n, err := v.part(p, off)
		if done = n; err != nil || n == len(p) {
			return done, err
		}
	}
	whole := (len(p) - done) / v.sector * v.sector
	n, err := v.whole(p[done:done+whole], off+int64(done))
	if done += n; err != nil || done == len(p) {
		return done, err
	}
	n, err = v.part(p[done:], off+int64(done))
	return done + n, err
}

// part reads from off to the end of its sector, or less if p is shorter.
func (v *Volume) part(p []byte, off int64) (int, error) {
	b := make([]byte, v.sector)
	inside := off % int64(v.sector)
	if _, err := v.sectors(b, off-inside); err != nil {
		return 0, err
	}
	return copy(p, b[inside:]), nil
}

// whole reads whole sectors, in pieces on several goroutines if there are several pieces. It
// returns how many bytes from the start are valid.
func (v *Volume) whole(p []byte, off int64) (int, error) {
	if len(p) <= piece {
		return v.sectors(p, off)
	}
	var (
		mu    sync.Mutex
		next  int
		good  = len(p)
		first error
		wg    sync.WaitGroup
	)
	take := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		at := next
		next += piece
		return at, at < good
	}
	fail := func(at int, err error) {
		mu.Lock()
		defer mu.Unlock()
		if at < good {
			good, first = at, err
		}
	}
	for range min(runtime.GOMAXPROCS(0), (len(p)+piece-1)/piece) {
		wg.Go(func() {
			for at, ok := take(); ok; at, ok = take() {
				if n, err := v.sectors(p[at:min(at+piece, len(p))], off+int64(at)); err != nil {
					fail(at+n, err)
				}
			}
		})
	}
	wg.Wait()
	return good, first
}

// sectors reads and decrypts whole sectors. Those before an unreadable one are valid.
func (v *Volume) sectors(p []byte, off int64) (int, error) {
	n, err := readFull(v.r, p, v.offset+off)
	if err != nil {
		err = fmt.Errorf("encrypted data: %w", err)
	}
	n -= n % v.sector
	decryptSectors(v.cipher, p[:n], v.sector, v.firstIV+uint64(off/sector))
	return n, err
}
