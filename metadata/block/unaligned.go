package block

import (
	"errors"
	"io"
	"sync"
	"unsafe"
)

// An UnalignedDevice reads and writes arbitrary bytes of a [Device], which itself needs whole
// blocks in aligned memory. It is as safe for concurrent use as the device.
type UnalignedDevice struct {
	dev Device
	mu  sync.Mutex // one write at a time: a write first reads the blocks at its ends
}

// Unaligned wraps dev so that offsets, lengths and memory need not be aligned. If they are, it
// costs nothing.
func Unaligned(dev Device) *UnalignedDevice { return &UnalignedDevice{dev: dev} }

func isAligned(p []byte, off int64) bool {
	return off%Size == 0 && len(p)%Size == 0 && (len(p) == 0 || uintptr(unsafe.Pointer(&p[0]))%Size == 0)
}

// ReadAt implements [io.ReaderAt]. Unaligned reads go through a buffer of at most batchBlocks
// blocks.
func (a *UnalignedDevice) ReadAt(p []byte, off int64) (int, error) {
	if isAligned(p, off) {
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

// WriteAt implements [io.WriterAt]. It never writes beyond the end of the device, which may be
// within a block.
func (a *UnalignedDevice) WriteAt(p []byte, off int64) (int, error) {
	if isAligned(p, off) {
		return a.dev.WriteAt(p, off)
	}
	if off < 0 || int64(len(p)) > a.dev.Size()-off {
		return 0, io.ErrShortWrite
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	buf := Bytes(Buffer(min(batchBlocks, len(p)/Size+2)))
	for done := 0; done < len(p); {
		skip := int(off % Size)
		at := off - int64(skip)
		n := min(len(buf)-skip, len(p)-done)
		whole := buf[:(skip+n+Size-1)/Size*Size]
		blocks := whole[:min(int64(len(whole)), a.dev.Size()-at)]
		if n < len(blocks) {
			if m, err := a.dev.ReadAt(whole, at); m < len(blocks) {
				return done, errors.Join(io.ErrUnexpectedEOF, err)
			}
		}
		copy(blocks[skip:], p[done:][:n])
		if _, err := a.dev.WriteAt(blocks, at); err != nil {
			return done, err
		}
		done, off = done+n, off+int64(n)
	}
	return len(p), nil
}
