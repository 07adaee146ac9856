package block

import "io"

// An Overlay is a device with some blocks replaced in memory, so that damaged metadata can be read
// as if it were repaired. It never writes to the underlying device. All blocks must be put before
// other goroutines read.
type Overlay struct {
	base   Device
	size   Nr // number of blocks taken from the device
	blocks map[Nr]*Data
	end    Nr // end of all blocks, including those beyond the device
}

// NewOverlay returns an Overlay without replaced blocks. It shows at most the given number of
// blocks of the device, because a sparse file may have more than anybody could read.
func NewOverlay(base Device, most Nr) *Overlay {
	size := min(Blocks(base), most)
	return &Overlay{base, size, map[Nr]*Data{}, size}
}

// Put replaces block nr with a copy of b. The device grows if needed.
func (p *Overlay) Put(nr Nr, b *Data) {
	patch := *b
	p.blocks[nr] = &patch
	p.end = max(p.end, nr+1)
}

// Alloc returns a new block beyond the end, which grows the device.
func (p *Overlay) Alloc() (Nr, error) {
	p.end++
	return p.end - 1, nil
}

// Write is Put for a block returned by Alloc, so that trees can be built on an Overlay.
func (p *Overlay) Write(nr Nr, b *Data) error {
	p.Put(nr, b)
	return nil
}

// ReadAt implements [Device].
func (p *Overlay) ReadAt(buf []byte, off int64) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := p.readPiece(buf[n:], off+int64(n))
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// readPiece reads a replaced block, or everything up to the next one.
func (p *Overlay) readPiece(buf []byte, off int64) (int, error) {
	nr, within := Nr(off/Size), off%Size
	if nr >= p.end {
		return 0, io.EOF
	}
	if b := p.blocks[nr]; b != nil {
		return copy(buf, b[within:]), nil
	}
	last := (off + int64(len(buf)) - 1) / Size
	for next := nr + 1; next <= Nr(last); next++ {
		if p.blocks[next] != nil {
			buf = buf[:int64(next)*Size-off]
			break
		}
	}
	if nr >= p.size { // a gap before blocks beyond the end
		buf = buf[:min(int64(len(buf)), int64(p.end)*Size-off)]
		clear(buf)
		return len(buf), nil
	}
	if end := int64(p.size) * Size; off+int64(len(buf)) > end {
		buf = buf[:end-off]
	}
	n, err := p.base.ReadAt(buf, off)
	if n == len(buf) {
		err = nil
	}
	return n, err
}

// WriteAt implements [Device]. An Overlay is read-only.
func (p *Overlay) WriteAt([]byte, int64) (int, error) { return 0, ErrReadOnly }

// Flush implements [Device].
func (p *Overlay) Flush() error { return nil }

// Size implements [Device].
func (p *Overlay) Size() int64 { return int64(p.end) * Size }

// Close implements [Device]. The underlying device stays open.
func (p *Overlay) Close() error { return nil }
