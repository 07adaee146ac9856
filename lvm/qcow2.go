package lvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"
	qcow2image "github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
	"github.com/lima-vm/go-qcow2reader/image/raw"
	qcow2log "github.com/lima-vm/go-qcow2reader/log"
)

// Offsets in the header of a qcow2 image, big-endian.
const (
	qcowVersion     = 4
	qcowBackingAt   = 8
	qcowBackingSize = 16
	qcowClusterBits = 20
	qcowSize        = 24
	qcowL1Size      = 36
	qcowL1Offset    = 40
	qcowFeatures    = 72 // from version 3 on
	qcowHeaderSize  = 100
	qcowHeader      = 104
)

// Bounds that QEMU has too, and one of ours: how many images may lie below one another.
const (
	qcowLeastBits   = 9
	qcowMostBits    = 21
	qcowMostL1      = 32 << 20 // bytes
	qcowMostName    = 1023
	qcowMostHeader  = 64 << 10
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

// A qcow2Reader reads the content of a qcow2 image and of those below it.
type qcow2Reader struct {
	qcow2image.Image
	size int64
}

// openQcow2 opens an image whose headers, and those of all images below it, have been
// looked at: the decoder trusts them.
func openQcow2(path string) (*qcow2Reader, error) {
	prepareQcow2()
	if err := checkQcow2Chain(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	img, err := openLayer(f, qcow2.Type)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("qcow2: %w", err), img.Close())
	}
	return img.(*qcow2Reader), nil
}

// openLayer opens an image, or one below it, by the format that the one above says it has. Even
// with an error there is an image, which can be closed: the decoder relies on it.
func openLayer(f io.ReaderAt, format qcow2image.Type) (qcow2image.Image, error) {
	layer, err := raw.Open(f)
	if err != nil {
		return layer, err
	}
	if format == "" {
		is, err := sniff(f)
		if err != nil {
			return layer, err
		}
		format = qcow2image.Type(is)
	}
	switch format {
	case raw.Type:
		return layer, nil
	case qcow2.Type:
		img, err := qcow2.Open(f, openLayer)
		if err != nil {
			return layer, err
		}
		return &qcow2Reader{img, img.Size()}, img.Readable()
	}
	return layer, fmt.Errorf("an image in %s format lies below", format)
}

// checkQcow2Chain goes down from an image to the one that has no other below it.
func checkQcow2Chain(path string) error {
	for range qcowMostBacking {
		below, err := checkQcow2(path)
		switch {
		case err != nil:
			return err
		case below == "":
			return nil
		case !filepath.IsAbs(below):
			below = filepath.Join(filepath.Dir(path), below)
		}
		path = below
	}
	return fmt.Errorf("qcow2: more than %d images lie below one another", qcowMostBacking)
}

// checkQcow2 looks at the header of one image and returns the name of the one below it. An
// image that is not qcow2 has none: it must be raw then.
func checkQcow2(path string) (below string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("qcow2: %w", err)
	}
	if mode := info.Mode() & os.ModeType; mode != 0 && mode != os.ModeDevice {
		return "", fmt.Errorf("qcow2: %s is neither a file nor a block device", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("qcow2: %w", err)
	}
	defer f.Close()
	if format, err := sniff(f); err != nil || format != qcow2Format {
		if err != nil {
			err = fmt.Errorf("qcow2: %s: %w", path, err)
		}
		return "", err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	var h [qcowHeader]byte
	if n, err := f.ReadAt(h[:], 0); n < qcowFeatures {
		return "", fmt.Errorf("qcow2: %s: header: %w", path, err)
	}
	return checkQcow2Header(h[:], path, f, size)
}

func checkQcow2Header(h []byte, path string, f io.ReaderAt, size int64) (below string, err error) {
	be := binary.BigEndian
	version, bits := be.Uint32(h[qcowVersion:]), be.Uint32(h[qcowClusterBits:])
	l1 := uint64(be.Uint32(h[qcowL1Size:])) * 8
	length := uint32(qcowFeatures)
	if version >= 3 {
		length = be.Uint32(h[qcowHeaderSize:])
	}
	const corrupt = 1 << 1
	switch disk := be.Uint64(h[qcowSize:]); {
	case version < 2 || version > 3:
		return "", fmt.Errorf("qcow2: %s: version %d is not supported: %s", path, version, convert)
	case bits < qcowLeastBits || bits > qcowMostBits:
		return "", fmt.Errorf("qcow2: %s: clusters of 2^%d bytes", path, bits)
	case l1 > qcowMostL1 || be.Uint64(h[qcowL1Offset:])+l1 > uint64(size):
		return "", fmt.Errorf("qcow2: %s: the L1 table of %d bytes does not lie in the image", path, l1)
	case disk > 1<<62:
		return "", fmt.Errorf("qcow2: %s: a disk of %d bytes", path, disk)
	case length < qcowFeatures || length > qcowMostHeader:
		return "", fmt.Errorf("qcow2: %s: a header of %d bytes", path, length)
	case version >= 3 && be.Uint64(h[qcowFeatures:])&corrupt != 0:
		return "", fmt.Errorf("qcow2: %s: the image is marked as corrupt: qemu-img check -r all mends it", path)
	}
	at, n := be.Uint64(h[qcowBackingAt:]), be.Uint32(h[qcowBackingSize:])
	if at == 0 {
		return "", nil
	}
	if n == 0 || n > qcowMostName || at > uint64(size) {
		return "", fmt.Errorf("qcow2: %s: the name of the image below has %d bytes", path, n)
	}
	name := make([]byte, n)
	if _, err := f.ReadAt(name, int64(at)); err != nil {
		return "", fmt.Errorf("qcow2: %s: name of the image below: %w", path, err)
	}
	return string(name), nil
}

// ReadAt implements [io.ReaderAt]. The decoder may stop within compressed clusters, with or
// without an error, and takes that for the end of an image that lies below: so all images of a
// chain are read through here. Only where it does not go on at all is there an error.
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
