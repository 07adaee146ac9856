package shared_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"thinpool/test/shared"
)

// repository creates a repository, changes to a folder in it, and returns the folder beside it.
func repository(t *testing.T) string {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(top, "repository", "some", "package")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "repository", "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	return filepath.Join(top, "shared")
}

// recorder is a test that only records messages.
type recorder struct {
	testing.TB
	skipped, logged string
}

func (r *recorder) Helper()                          {}
func (r *recorder) Skipf(format string, args ...any) { r.skipped = fmt.Sprintf(format, args...) }
func (r *recorder) Logf(format string, args ...any)  { r.logged = fmt.Sprintf(format, args...) }

// The folder is beside the repository, at any depth of the package.
func TestThere(t *testing.T) {
	dir := repository(t)
	want := filepath.Join(dir, "kernel", "corpus")
	if err := os.MkdirAll(want, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &recorder{TB: t}
	if got := shared.Path(r, "kernel", "corpus"); got != want || r.skipped != "" {
		t.Errorf("path %s, skipped %q; want %s", got, r.skipped, want)
	}
	if got := shared.Optional(r, "kernel"); got != filepath.Dir(want) || r.logged != "" {
		t.Errorf("path %s, logged %q", got, r.logged)
	}
}

// Missing files are named.
func TestAbsent(t *testing.T) {
	repository(t)
	r := &recorder{TB: t}
	const want = "../shared/kernel/corpus is not there"
	if shared.Path(r, "kernel", "corpus"); r.skipped != want {
		t.Errorf("skipped %q, want %q", r.skipped, want)
	}
	if got := shared.Optional(r, "kernel", "corpus"); got != "" || r.logged != want {
		t.Errorf("path %q, logged %q, want %q", got, r.logged, want)
	}
}
