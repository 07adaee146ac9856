// Package shared, whose API may change, finds optional files in a folder "shared" beside the
// repository: images created by kernels, virtual machines, other implementations, an independent
// checker. Without them, tests that need them are skipped.
package shared

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Dir returns the folder, which may not exist.
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

// File returns the path of a file in the folder, which may not exist.
func File(parts ...string) string {
	return filepath.Join(append([]string{Dir()}, parts...)...)
}

// Has reports whether a file exists.
func Has(parts ...string) bool {
	_, err := os.Stat(File(parts...))
	return err == nil
}

// Path is like File, but skips the test if the file does not exist.
func Path(t testing.TB, parts ...string) string {
	t.Helper()
	if !Has(parts...) {
		t.Skipf("../shared/%s is not there", filepath.ToSlash(filepath.Join(parts...)))
	}
	return File(parts...)
}

// Optional is like Path, for files that a test can do without: it logs a message and returns "".
func Optional(t testing.TB, parts ...string) string {
	t.Helper()
	if !Has(parts...) {
		t.Logf("../shared/%s is not there", filepath.ToSlash(filepath.Join(parts...)))
		return ""
	}
	return File(parts...)
}

// Unpack returns the content of a file compressed with zstd. The file may be anywhere.
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
