//go:build unix

package block_test

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"thinpool/metadata/block"
)

// Opening a fifo would block forever.
func TestOpenFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	if _, err := block.Open(path, block.Options{}); !errors.Is(err, block.ErrNotBlocks) {
		t.Errorf("Open: %v, want %v", err, block.ErrNotBlocks)
	}
}
