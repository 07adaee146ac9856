package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promised lists the packages with a stable API, as in doc.go at the root.
var promised = []string{
	"jsonfmt", "lvm", "metadata", "metadata/block", "metadata/volume", "tool/check", "tool/delta", "tool/dump", "tool/repair", "xmlfmt",
}

// doc.go lists the stable packages. All other importable packages say that they may change.
func TestPromise(t *testing.T) {
	overview, err := os.ReadFile(filepath.Join(root, "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^//   - ([\w/, ]+):`).FindAllStringSubmatch(string(overview), -1) {
		listed = append(listed, strings.Split(m[1], ", ")...)
	}
	slices.Sort(listed)
	if !slices.Equal(listed, promised) {
		t.Errorf("doc.go lists %q, want %q", listed, promised)
	}
	for _, dir := range publicPackages(t) {
		first, _, _ := strings.Cut(packageComment(t, dir), ". ")
		says := strings.Contains(strings.ReplaceAll(first, "\n", " "), "API may change")
		if says == slices.Contains(promised, dir) {
			t.Errorf("%s: promised %v, and its first sentence says that it may change: %v", dir, !says, says)
		}
	}
}

// publicPackages returns the folders of packages that other modules can import.
func publicPackages(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "internal" || d.Name() == "testdata" || rel == "cmd" || strings.HasPrefix(d.Name(), ".") && rel != "."):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go") && strings.Contains(rel, "/"):
			if dir := rel[:strings.LastIndex(rel, "/")]; !slices.Contains(dirs, dir) && packageName(t, path) != "main" {
				dirs = append(dirs, dir)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func packageName(t *testing.T, path string) string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	return f.Name.Name
}

func packageComment(t *testing.T, dir string) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(root, dir, "*.go"))
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if text := f.Doc.Text(); text != "" && !strings.HasSuffix(path, "_test.go") {
			return text
		}
	}
	return ""
}
