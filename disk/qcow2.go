package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/klauspost/compress/zstd"
	qcow2image "github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
	qcow2log "github.com/lima-vm/go-qcow2reader/log"

	"thinpool/internal/printable"
)

// Offsets in the qcow2 header, big-endian.
const (
	qcowVersion     = 4
	qcowBackingAt   = 8
	qcowBackingSize = 16
	qcowClusterBits = 20
	qcowSize        = 24
	qcowCrypt       = 32
	qcowL1Size      = 36
	qcowL1Offset    = 40
	qcowFeatures    = 72 // since version 3
	qcowHeaderSize  = 100
	qcowHeader      = 104
)

// Incompatible features and header extensions.
const (
	qcowCorrupt      = 1 << 1
	qcowExternalData = 1 << 2
	qcowExtendedL2   = 1 << 4
	qcowFormatName   = 0xe2792aca // of the backing file
	qcowDataName     = 0x44415441 // of the external data file
)

// Limits that QEMU has, too, and one of our own: the maximum length of a backing chain.
const (
	qcowLeastBits   = 9
	qcowMostBits    = 21
	qcowMostL1      = 32 << 20 // bytes
	qcowMostName    = 1023
	qcowMostHeader  = 64 << 10
	qcowMostFormat  = 15
	qcowMostBacking = 16
)

var prepareQcow2 = sync.OnceFunc(func() {
	qcow2log.SetWarnFunc(nil) // a package does not print
	qcow2.SetDecompressor(qcow2.CompressionTypeZstd, func(r io.Reader) (io.ReadCloser, error) {
		dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<qcowMostBits*4))
		if err != nil {
			return nil, err
		}
		return dec.IOReadCloser(), nil
	})
})

// A qcow2Reader reads the content of a qcow2 image and its backing files.
type qcow2Reader struct {
	qcow2image.Image
	size  int64
	files []io.Closer // the image and its backing files
}

// Close closes the files. After an error, the decoder's own Close does not know all of them.
func (q *qcow2Reader) Close() error { return closeAll(q.files) }

func closeAll(files []io.Closer) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// openQcow2 opens an image and its backing files. It also returns their paths, nearest first.
func openQcow2(path string, allowed []string) (*qcow2Reader, []string, error) {
	prepareQcow2()
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	c := &backingChain{allowed: allowed}
	q, err := c.open(f, path)
	return q, c.opened, err
}

// open returns a reader for an image in an open file. On error, it closes the file.
func (c *backingChain) open(f *os.File, path string) (*qcow2Reader, error) {
	q := &qcow2Reader{files: []io.Closer{f}}
	h, err := readQcow2Header(f, path)
	var below qcow2image.Image
	if err == nil && h.backing != "" {
		if below, err = c.openBelow(path, h); err == nil {
			q.files = append(q.files, below)
		}
	}
	if err != nil {
		return nil, errors.Join(err, q.Close())
	}
	img, err := qcow2.Open(&qcow2File{f, h.bytes}, func(null io.ReaderAt, _ qcow2image.Type) (qcow2image.Image, error) {
		q.files = append(q.files, null.(io.Closer))
		return below, nil
	})
	if err == nil {
		err = img.Readable()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("qcow2: %s: %w", printable.Text(path), err), q.Close())
	}
	q.Image, q.size = img, img.Size()
	return q, nil
}

// A qcow2File is the decoder's view of an image: with the header that was checked, even if the file
// has changed since. The decoder would open the backing file by name, which we do not want. So it
// finds the null device instead, and then gets the file that is already open.
type qcow2File struct {
	f      *os.File
	header []byte
}

// qcowNullAt is where the decoder finds the name of the null device: at an offset beyond any file.
const qcowNullAt = 1 << 62

// ReadAt implements [io.ReaderAt].
func (q *qcow2File) ReadAt(p []byte, off int64) (int, error) {
	if off == qcowNullAt {
		return copy(p, os.DevNull), nil
	}
	n, err := q.f.ReadAt(p, off)
	if off >= 0 && off < int64(len(q.header)) {
		copy(p[:n], q.header[off:])
	}
	return n, err
}

// A qcow2Header has what an image's header says about other files.
type qcow2Header struct {
	bytes   []byte // for the decoder
	backing string // name of the backing file; empty: none
	format  string // format of the backing file; empty: not declared
}

// readQcow2Header checks the header of an image, because the decoder trusts it.
func readQcow2Header(f *os.File, path string) (*qcow2Header, error) {
	if format, err := sniff(f, path); err != nil || format != qcow2Format {
		if err == nil {
			err = errors.New("the image is not in qcow2 format")
		}
		return nil, fmt.Errorf("qcow2: %s: %w", printable.Text(path), err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	h := &qcow2Header{bytes: make([]byte, qcowHeader)}
	n, err := f.ReadAt(h.bytes, 0)
	if n < qcowFeatures {
		return nil, fmt.Errorf("qcow2: %s: header: %w", printable.Text(path), err)
	}
	h.bytes = h.bytes[:n]
	if err := h.check(f, size); err != nil {
		return nil, fmt.Errorf("qcow2: %s: %w", printable.Text(path), err)
	}
	return h, nil
}

// check validates the header and reads what it says about other files.
func (h *qcow2Header) check(f io.ReaderAt, size int64) error {
	be, b := binary.BigEndian, h.bytes
	version, bits := be.Uint32(b[qcowVersion:]), be.Uint32(b[qcowClusterBits:])
	l1 := uint64(be.Uint32(b[qcowL1Size:])) * 8
	length, features := uint32(qcowFeatures), uint64(0)
	if version >= 3 && len(b) == qcowHeader {
		length, features = be.Uint32(b[qcowHeaderSize:]), be.Uint64(b[qcowFeatures:])
	}
	at := be.Uint64(b[qcowBackingAt:])
	l2Bits := 2*bits - 3 // size covered by an entry of the L1 table
	if features&qcowExtendedL2 != 0 {
		l2Bits--
	}
	switch disk := be.Uint64(b[qcowSize:]); {
	case version < 2 || version > 3:
		return fmt.Errorf("version %d is not supported: %s", version, convert)
	case bits < qcowLeastBits || bits > qcowMostBits:
		return fmt.Errorf("clusters of 2^%d bytes", bits)
	case l1 > qcowMostL1 || be.Uint64(b[qcowL1Offset:])+l1 > uint64(size):
		return fmt.Errorf("the L1 table of %d bytes does not lie in the image", l1)
	case disk > l1/8<<l2Bits:
		return fmt.Errorf("a disk of %d bytes is more than the L1 table of %d bytes can address", disk, l1)
	case features&qcowExtendedL2 != 0 && strconv.IntSize < 64:
		return fmt.Errorf("extended L2 tables are not supported on this processor: %s", convert)
	case length < qcowFeatures || length > qcowMostHeader || version >= 3 && length < qcowHeader:
		return fmt.Errorf("a header of %d bytes", length)
	case features&qcowCorrupt != 0:
		return errors.New("the image is marked as corrupt: repair it with qemu-img check -r all")
	case be.Uint32(b[qcowCrypt:]) != 0:
		return fmt.Errorf("the image is encrypted, which is not supported: %s", convert)
	case at > 1<<bits:
		return fmt.Errorf("the backing file name is at byte %d, outside the first cluster", at)
	}
	end := uint64(1) << bits
	if at != 0 {
		end = at
	}
	external, err := h.readExtensions(f, uint64(length), end)
	switch {
	case err != nil:
		return err
	case features&qcowExternalData != 0:
		return fmt.Errorf("external data files (%q) are not supported: %s", external, convert)
	case at == 0:
		return nil
	}
	return h.readBacking(f, int64(at))
}

// readExtensions reads the header extensions before end.
func (h *qcow2Header) readExtensions(f io.ReaderAt, at, end uint64) (external string, err error) {
	const head = 8
	for at+head <= end {
		var b [head]byte
		if _, err := f.ReadAt(b[:], int64(at)); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", err
		}
		kind, n := binary.BigEndian.Uint32(b[:]), uint64(binary.BigEndian.Uint32(b[4:]))
		if at += head; kind == 0 {
			break
		}
		if n > end-at {
			return "", fmt.Errorf("a header extension has %d bytes", n)
		}
		if kind == qcowFormatName || kind == qcowDataName {
			text := make([]byte, min(n, qcowMostName))
			if _, err := f.ReadAt(text, int64(at)); err != nil {
				return "", fmt.Errorf("extension of the header: %w", err)
			}
			if kind == qcowDataName {
				external = string(text)
			} else if h.format = string(text); n > qcowMostFormat {
				return "", fmt.Errorf("the format of the backing file has %d bytes", n)
			}
		}
		at += (n + 7) &^ 7
	}
	return external, nil
}

// readBacking reads the name of the backing file and replaces it with the null device for the
// decoder.
func (h *qcow2Header) readBacking(f io.ReaderAt, at int64) error {
	be := binary.BigEndian
	n := be.Uint32(h.bytes[qcowBackingSize:])
	if n == 0 || n > qcowMostName {
		return fmt.Errorf("the name of the backing file has %d bytes", n)
	}
	name := make([]byte, n)
	if _, err := f.ReadAt(name, at); err != nil {
		return fmt.Errorf("name of the backing file: %w", err)
	}
	h.backing = string(name)
	be.PutUint64(h.bytes[qcowBackingAt:], qcowNullAt)
	be.PutUint32(h.bytes[qcowBackingSize:], uint32(len(os.DevNull)))
	return nil
}

// ReadAt implements [io.ReaderAt]. The decoder may stop within compressed clusters, with or without
// an error, and treats that as the end of a backing file. So all images of a chain are read through
// this method. It returns an error only if there is no progress at all.
func (q *qcow2Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= q.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > q.size-off {
		p, end = p[:q.size-off], io.EOF
	}
	for done := 0; done < len(p); {
		n, err := q.Image.ReadAt(p[done:], off+int64(done))
		if done += n; n > 0 {
			continue
		}
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return done, fmt.Errorf("qcow2: %w", err)
	}
	return len(p), end
}
