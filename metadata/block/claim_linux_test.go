package block_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"thinpool/metadata/block"
)

func twoBlocks(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(path, make([]byte, 2*block.Size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file that is open for writing keeps out other writers, but not readers.
func TestOneWriter(t *testing.T) {
	path := twoBlocks(t)
	opens := map[string]func() (block.Device, error){
		"Open for writing": func() (block.Device, error) { return block.Open(path, block.Options{Write: true}) },
		"Claim": func() (block.Device, error) {
			c, err := block.Claim(path)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
	}
	for first, open := range opens {
		dev, err := open()
		if err != nil {
			t.Fatal(err)
		}
		for second, open := range opens {
			if _, err := open(); !errors.Is(err, block.ErrLocked) || !errors.Is(err, block.ErrBusy) {
				t.Errorf("%s after %s: %v, want %v", second, first, err, block.ErrLocked)
			}
		}
		reader, err := block.Open(path, block.Options{})
		if err != nil {
			t.Fatalf("reading after %s: %v", first, err)
		}
		if err := errors.Join(reader.Close(), dev.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// A claimed device is only read until writing is allowed.
func TestClaim(t *testing.T) {
	path := twoBlocks(t)
	dev, err := block.Claim(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	b := block.Data{9: 9}
	if err := block.Write(dev, 1, &b); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("written before it is allowed: %v", err)
	}
	for range 2 {
		if err := dev.AllowWriting(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(block.Write(dev, 1, &b), dev.Flush()); err != nil {
		t.Fatal(err)
	}
	var back block.Data
	if err := block.Read(dev, 1, &back); err != nil || back != b {
		t.Errorf("what was written does not read back: %v", err)
	}
}

// A file is only replaced if no other process writes to it.
func TestLockShared(t *testing.T) {
	path := twoBlocks(t)
	writer, err := block.Open(path, block.Options{Write: true})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := block.LockShared(f); !errors.Is(err, block.ErrLocked) {
		t.Errorf("beside a writer: %v, want %v", err, block.ErrLocked)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := block.LockShared(f); err != nil {
		t.Errorf("alone: %v", err)
	}
	if _, err := block.Open(path, block.Options{Write: true}); !errors.Is(err, block.ErrLocked) {
		t.Errorf("a writer beside it: %v, want %v", err, block.ErrLocked)
	}
}
