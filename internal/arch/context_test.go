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

// keepContext lists the types that may store a context: they implement an io interface, whose
// methods take none. cli.Env is itself a context.
var keepContext = []string{
	"internal/cli.Env", "internal/cli.patientReader", "internal/cli.stdout", "internal/source.Output",
	"metadata/volume.Volume", "tool/export.comparer", "xmlfmt.reader",
}

// A context is passed as an argument, so that the caller decides what a call waits for.
func TestContextsAreArguments(t *testing.T) {
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		for _, name := range holders(f) {
			if name = filepath.ToSlash(dir) + "." + name; !slices.Contains(keepContext, name) {
				t.Errorf("%s keeps a context", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// holders returns the struct types in a file with a field of type context.Context.
func holders(f *ast.File) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		if slices.ContainsFunc(fields.Fields.List, func(field *ast.Field) bool {
			sel, ok := field.Type.(*ast.SelectorExpr)
			return ok && sel.Sel.Name == "Context"
		}) {
			names = append(names, spec.Name.Name)
		}
		return true
	})
	return names
}

func TestHolders(t *testing.T) {
	const source = `package p
type a struct { n int }
type b struct { ctx context.Context }
type c struct { context.Context }
type d func(context.Context)
type e struct { do func(context.Context) }`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := holders(f); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("%q keep a context, want b and c", got)
	}
}
