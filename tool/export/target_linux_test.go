package export_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/metadata/block"
	"thinpool/tool/export"
)

// An export leaves none of a block device's old content, unless told that it is all zero.
func TestDisk(t *testing.T) {
	m := newModel(6)
	path := filepath.Join(t.TempDir(), "disk")
	old := bytes.Repeat([]byte{0xee}, size+unit)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device can be had: %v %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", loop).Run() })
	for _, holes := range []export.Holes{export.SkipZeros, export.WriteZeros, export.SkipZeros, export.Discard} {
		if err := os.WriteFile(path, old, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := export.OpenDisk(loop, size, holes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := export.OpenDisk(loop, size, export.WriteZeros); !errors.Is(err, block.ErrBusy) {
			t.Errorf("opened twice: %v", err)
		}
		if err := export.Run(t.Context(), m, m.all(), d, export.Options{}); err != nil {
			t.Fatal(err)
		}
		d.Forget()
		err = export.Verify(t.Context(), m, m.all(), d, export.Options{})
		if differs := errors.Is(err, export.ErrDiffers); differs != (holes == export.SkipZeros) || !differs && err != nil {
			t.Errorf("zeros %v; verify: %v", holes, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got[:size], m.content) || !bytes.Equal(got[size:], old[size:]) {
		t.Errorf("the device is wrong (%v)", err)
	}
	if _, err := export.OpenDisk(loop, size+2*unit, export.WriteZeros); !errors.Is(err, export.ErrTooSmall) {
		t.Errorf("a device that is too small: %v", err)
	}
}
