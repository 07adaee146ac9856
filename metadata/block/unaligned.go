package block

import (
	"io"
	"unsafe"
)

// Unaligned returns a reader of dev for which offsets, lengths and memory need not be
// aligned; where they are, it costs nothing. It is as safe for concurrent use as dev.
func Unaligned(dev Device) io.ReaderAt { return unaligned{dev} }

type unaligned struct{ dev Device }

// ReadAt implements [io.ReaderAt]; what is not aligned takes a detour of at most
// batchBlocks blocks at a time.
func (a unaligned) ReadAt(p []byte, off int64) (int, error) {
	if off%Size == 0 && len(p)%Size == 0 && (len(p) == 0 || uintptr(unsafe.Pointer(&p[0]))%Size == 0) {
		return a.dev.ReadAt(p, off)
	}
	buf := Bytes(Buffer(min(batchBlocks, len(p)/Size+2)))
	for done := 0; done < len(p); {
		skip := int(off % Size)
		want := min(len(buf), (skip+len(p)-done+Size-1)/Size*Size)
		got, err := a.dev.ReadAt(buf[:want], off-int64(skip))
		n := 0
		if got > skip {
			n = copy(p[done:], buf[skip:got])
		}
		done, off = done+n, off+int64(n)
		if done < len(p) && got < want {
			return done, err
		}
	}
	return len(p), nil
}
