package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// around lists which files may bypass the escapes of package printable, and why.
var around = map[string][]string{
	"json.NewEncoder": {"internal/view/json.go", "internal/cli/failure.go"},                                                                                    // they escape
	"json.Marshal":    {"jsonfmt/write.go", "streamfmt/write.go", "tool/export/journal.go"},                                                                    // they escape, or write files that only we read
	"env.Product":     {"internal/command/export_copy.go", "internal/command/volumes.go", "internal/command/volumes_history.go", "internal/source/streams.go"}, // content, LVM's own text, dumps and packs
	"os.Stdout":       {"internal/cli/cli.go", "internal/cli/limits_linux.go"},                                                                                 // passed to Run and to a child
	"os.Stderr":       {"internal/cli/cli.go", "internal/cli/limits_linux.go", "internal/cli/limits_other.go"},
}

// Text from outside reaches people through one writer, and programs through one encoder.
func TestNothingAroundTheEscapes(t *testing.T) {
	found := map[string]int{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(filepath.ToSlash(file), root+"/")
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		for _, own := range []string{"internal/demo/", "internal/completions/", "internal/licenses/collect/", "packaging/", "bench/", "test/damage/", "test/mutants/", "test/run/", "internal/arch/testdata/"} { // print only for developers
			if strings.HasPrefix(rel, own) {
				return nil
			}
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := selector.X.(*ast.Ident)
			if !ok {
				return true
			}
			name := x.Name + "." + selector.Sel.Name
			if files, ok := around[name]; ok {
				if found[name]++; !slices.Contains(files, rel) {
					t.Errorf("%s uses %s: only %s may", rel, name, strings.Join(files, ", "))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range around {
		if found[name] == 0 {
			t.Errorf("nothing uses %s", name)
		}
	}
}
