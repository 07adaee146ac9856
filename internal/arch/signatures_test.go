package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Exported declarations of public packages do not mention internal types, which callers could not
// name. An alias gives such a type a public name.
func TestSignaturesArePublic(t *testing.T) {
	for _, dir := range publicPackages(t) {
		sources, _ := filepath.Glob(filepath.Join(root, dir, "*.go"))
		for _, path := range sources {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, leak := range leaks(f) {
				t.Errorf("%s: %s", dir, leak)
			}
		}
	}
}

// leaks returns the internal types mentioned in a file's exported declarations.
func leaks(f *ast.File) (found []string) {
	internal := map[string]bool{}
	for _, spec := range f.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if !slices.Contains(strings.Split(imported, "/"), "internal") {
			continue
		}
		name := imported[strings.LastIndex(imported, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		internal[name] = true
	}
	note := func(of string, node ast.Node) {
		ast.Inspect(node, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field: // of a struct or an interface: only exported ones matter
				return len(n.Names) == 0 || slices.ContainsFunc(n.Names, (*ast.Ident).IsExported)
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && internal[pkg.Name] {
					found = append(found, of+" names "+pkg.Name+"."+n.Sel.Name)
				}
			}
			return true
		})
	}
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
				for _, list := range []*ast.FieldList{d.Type.TypeParams, d.Type.Params, d.Type.Results} {
					if list == nil {
						continue
					}
					for _, field := range list.List {
						note(d.Name.Name, field.Type)
					}
				}
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && !s.Assign.IsValid() {
						note(s.Name.Name, s.Type)
					}
				case *ast.ValueSpec:
					if s.Type != nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
						note(s.Names[0].Name, s.Type)
					}
				}
			}
		}
	}
	return found
}

// receiver returns the name of a method's receiver type.
func receiver(d *ast.FuncDecl) string {
	name := ""
	ast.Inspect(d.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return name == ""
	})
	return name
}

func TestLeaks(t *testing.T) {
	const source = `package p
import (
	"thinpool/internal/a"
	other "thinpool/internal/pdata/b"
	"thinpool/metadata"
)
type Alias = a.T
type Open struct { Field *other.T; hidden a.T }
type Method interface { Do(a.T) }
type Generic[T any] struct{}
type closed struct { Field a.T }
var V, w a.T
func F(n int, fn func(*a.T)) metadata.T { var t a.T }
func (g *Generic[T]) G() []other.T
func (c *closed) H(a.T)
func i(a.T)
func J(metadata.T) Alias`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Open names other.T", "Method names a.T", "V names a.T", "F names a.T", "G names other.T"}
	if got := leaks(f); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
