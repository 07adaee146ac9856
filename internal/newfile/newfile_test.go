package newfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// create creates files in both ways: unnamed, if the file system supports it, and named.
var create = map[string]func(path string) (*File, error){
	"unnamed": func(path string) (*File, error) { return Create(path, 0o640) },
	"named":   func(path string) (*File, error) { return createNamed(path, 0o640) },
}

// folder returns a path in a new folder. If old is set, an old file exists there.
func folder(t *testing.T, old bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if old {
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// holds checks that a folder holds exactly one file with the given content, or nothing if content
// is "".
func holds(t *testing.T, path, content string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if content == "" {
		if len(names) > 0 {
			t.Errorf("files %q, want none", names)
		}
		return
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != content || len(names) != 1 {
		t.Errorf("%q (%v), files %q, want %q alone", got, err, names, content)
	}
}

func TestCommit(t *testing.T) {
	for how, create := range create {
		for _, c := range []struct {
			name         string
			old, replace bool
			want         string
			err          error
		}{
			{"first", false, false, "new", nil},
			{"first, may replace", false, true, "new", nil},
			{"replaced", true, true, "new", nil},
			{"in the way", true, false, "old", fs.ErrExist},
		} {
			t.Run(how+"/"+c.name, func(t *testing.T) {
				path := folder(t, c.old)
				f, err := create(path)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString("new"); err != nil {
					t.Fatal(err)
				}
				if err := f.Commit(c.replace); !errors.Is(err, c.err) {
					t.Errorf("%v, want %v", err, c.err)
				}
				f.Discard()
				holds(t, path, c.want)
			})
		}
	}
}

func TestDiscard(t *testing.T) {
	for how, create := range create {
		path := folder(t, false)
		f, err := create(path)
		if err != nil {
			t.Fatal(err)
		}
		f.Discard()
		t.Run(how, func(t *testing.T) { holds(t, path, "") })
	}
}

func TestCreateFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "file")
	if _, err := Create(path, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a missing folder: %v", err)
	}
}

// An unnamed file leaves nothing behind when the process is killed.
func TestUnnamedHasNoName(t *testing.T) {
	path := folder(t, false)
	f, err := Create(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if f.temp != "" {
		t.Skip("the file system of the temporary folder has no unnamed files")
	}
	holds(t, path, "")
}

// A link at the target path is replaced, and the file it points to is unchanged.
func TestCommitOverLink(t *testing.T) {
	other := folder(t, true)
	for how, create := range create {
		path := folder(t, false)
		if err := os.Symlink(other, path); err != nil {
			t.Fatal(err)
		}
		f, err := create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(true); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", how, info, err)
		}
		holds(t, other, "old")
	}
}

// Remove removes a file. A missing file is not an error.
func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is there: %v", err)
		}
	}
}

// An error names the file that was to be created, not a temporary name.
func TestCreateError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "file")
	for how, create := range create {
		_, err := create(path)
		if e, ok := errors.AsType[*fs.PathError](err); !ok || e.Path != path || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", how, err)
		}
	}
}
