package block_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"thinpool/metadata/block"
)

type closer struct {
	io.ReaderAt
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

// A device over a reader returns its blocks, refuses writes, and closes the reader if possible.
func TestReadOnly(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*block.Size/16)
	r := &closer{ReaderAt: bytes.NewReader(content)}
	dev := block.ReadOnly(r, int64(len(content)))
	var b block.Data
	if err := block.Read(dev, 2, &b); err != nil || !bytes.Equal(b[:], content[2*block.Size:]) || block.Blocks(dev) != 3 {
		t.Errorf("block 2 of %d: %v", block.Blocks(dev), err)
	}
	if err := block.Write(dev, 0, &b); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("a write: %v", err)
	}
	if err := errors.Join(dev.Flush(), dev.Close()); err != nil || !r.closed {
		t.Errorf("closed: %v, %v", r.closed, err)
	}
	if err := block.ReadOnly(bytes.NewReader(nil), 0).Close(); err != nil {
		t.Error(err)
	}
}
