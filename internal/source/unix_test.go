//go:build unix

package source

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"thinpool/internal/cli"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	pipe, socket, empty := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket"), file(t, nil)
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	missing := filepath.Join(dir, "missing")
	for path, want := range map[string]string{
		missing:     missing + ": no such file or device",
		dir:         "Not a block device or regular file '" + dir + "'.",
		"/dev/null": "Not a block device or regular file '/dev/null'.",
		pipe:        "Not a block device or regular file '" + pipe + "'.",
		socket:      "Not a block device or regular file '" + socket + "'.",
		empty:       empty + ": Metadata device/file too small.  Is this binary metadata?",
	} {
		if _, err := Open(&cli.Env{Context: t.Context()}, Spec{Path: path}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	for path, want := range map[string]string{
		missing:         missing + ": no such file or device. An output must exist. Make it as large as the old metadata, or as thin_metadata_size says: truncate -s SIZE " + missing,
		missing + " it": missing + " it: no such file or device. An output must exist. Make it as large as the old metadata, or as thin_metadata_size says: truncate -s SIZE '" + missing + " it'",
		"/dev/missing":  "/dev/missing: no such file or device",
	} {
		if _, err := Open(&cli.Env{Context: t.Context()}, Spec{Path: path, Access: Overwrite}); err == nil || err.Error() != want {
			t.Errorf("output %s: %v, want %s", path, err, want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s was made", path)
		}
	}
}
