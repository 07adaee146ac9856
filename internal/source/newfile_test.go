//go:build unix

package source

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"thinpool/internal/cli"
)

func chmod(t *testing.T, path string, mode os.FileMode, gid int) {
	t.Helper()
	if gid != os.Getegid() && os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	if err := os.Chown(path, -1, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// A file made from others is readable only by those who can read them.
func TestModeLike(t *testing.T) {
	own, other := os.Getegid(), os.Getegid()+1
	for _, c := range []struct {
		mode os.FileMode
		gid  int
		want os.FileMode
	}{
		{0o644, own, 0o666},
		{0o640, own, 0o660},
		{0o600, own, 0o600},
		{0o660, other, 0o600}, // as with block devices
		{0o664, other, 0o666},
	} {
		path := file(t, nil)
		chmod(t, path, c.mode, c.gid)
		if got := ModeLike(file(t, nil)+".missing", path); got != c.want {
			t.Errorf("%v of group %d: %v, want %v", c.mode, c.gid, got, c.want)
		}
	}
}

func output(t *testing.T, path string, from ...string) os.FileInfo {
	t.Helper()
	out, err := CreateOutput(&cli.Env{Context: t.Context()}, path, "", from...)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Discard()
	if _, err := io.WriteString(out, text); err != nil {
		t.Fatal(err)
	}
	if err := out.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A new file is as private as its input; a replaced file keeps its mode.
func TestOutputMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	secret := file(t, nil)
	chmod(t, secret, 0o600, os.Getegid())
	if mode := output(t, filepath.Join(t.TempDir(), "new"), secret).Mode(); mode != 0o600 {
		t.Errorf("of a secret: %v", mode)
	}
	if mode := output(t, filepath.Join(t.TempDir(), "new")).Mode(); mode != 0o644 {
		t.Errorf("of nothing: %v", mode)
	}
	old := file(t, []byte("old"))
	chmod(t, old, 0o664, os.Getegid()+1)
	info := output(t, old, secret)
	if stat := info.Sys().(*syscall.Stat_t); info.Mode() != 0o664 || int(stat.Gid) != os.Getegid()+1 {
		t.Errorf("replaced: %v, group %d", info.Mode(), stat.Gid)
	}
}
