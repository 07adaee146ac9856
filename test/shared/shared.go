// Package shared, whose API may change, finds what may lie in a folder "shared" beside the repository:
// images that kernels made, virtual machines, other implementations, an
// independent checker. Tests that need something of it are skipped without it.
package shared

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Dir is the folder, which need not be there.
func Dir() string {
	wd, err := os.Getwd()
	if err != nil {
		return filepath.Join("..", "shared")
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(filepath.Dir(dir), "shared")
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(filepath.Dir(wd), "shared")
		}
	}
}

// File is the path of a file or folder in the folder, which need not be there.
func File(parts ...string) string {
	return filepath.Join(append([]string{Dir()}, parts...)...)
}

// Has reports whether a file or folder is there.
func Has(parts ...string) bool {
	_, err := os.Stat(File(parts...))
	return err == nil
}

// Path is as File, and skips the test if nothing is there.
func Path(t testing.TB, parts ...string) string {
	t.Helper()
	if !Has(parts...) {
		t.Skipf("../shared/%s is not there", filepath.ToSlash(filepath.Join(parts...)))
	}
	return File(parts...)
}

// Optional is as Path for what a test can do without: it says so, and returns "".
func Optional(t testing.TB, parts ...string) string {
	t.Helper()
	if !Has(parts...) {
		t.Logf("../shared/%s is not there", filepath.ToSlash(filepath.Join(parts...)))
		return ""
	}
	return File(parts...)
}

// Unpack returns what a file compressed with zstd holds, wherever it lies.
func Unpack(t testing.TB, path string) []byte {
	t.Helper()
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	content, err := dec.DecodeAll(packed, nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return content
}
