package arch

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// library lists the folders with packages for others to import.
var library = []string{"tool/*", "metadata", "metadata/*", "xmlfmt", "jsonfmt", "textfmt", "packfmt", "streamfmt"}

// eachPackage calls fn for every package of the library with its files.
func eachPackage(t *testing.T, fn func(t *testing.T, dir string, files, tests []*ast.File)) {
	t.Helper()
	for _, pattern := range library {
		dirs, _ := filepath.Glob(filepath.Join(root, pattern))
		for _, dir := range dirs {
			sources, _ := filepath.Glob(filepath.Join(dir, "*.go"))
			if len(sources) == 0 {
				continue
			}
			t.Run(strings.TrimPrefix(filepath.ToSlash(dir), root+"/"), func(t *testing.T) {
				set := token.NewFileSet()
				var files, tests []*ast.File
				for _, path := range sources {
					f, err := parser.ParseFile(set, path, nil, parser.ParseComments)
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasSuffix(path, "_test.go") {
						tests = append(tests, f)
					} else {
						files = append(files, f)
					}
				}
				fn(t, dir, files, tests)
			})
		}
	}
}

// Every package has a package comment. Those that read or write whole pools have an example that is
// run.
func TestPackagesAreDocumented(t *testing.T) {
	eachPackage(t, func(t *testing.T, dir string, files, tests []*ast.File) {
		if !slices.ContainsFunc(files, func(f *ast.File) bool { return f.Doc.Text() != "" }) {
			t.Error("no package comment")
		}
		if strings.HasPrefix(filepath.ToSlash(dir), root+"/metadata/") {
			return
		}
		examples := doc.Examples(tests...)
		if !slices.ContainsFunc(examples, func(e *doc.Example) bool { return e.Output != "" }) {
			t.Error("no example with output")
		}
		if _, err := os.Stat(filepath.Join(dir, "example_test.go")); err != nil {
			t.Error(err)
		}
	})
}

// Everything exported is documented. A context is always the first parameter.
func TestContextFirst(t *testing.T) {
	eachPackage(t, func(t *testing.T, _ string, files, _ []*ast.File) {
		for _, f := range files {
			for _, decl := range f.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || !fn.Name.IsExported() {
					continue
				}
				if fn.Doc.Text() == "" && receiverExported(fn) && !simple[fn.Name.Name] {
					t.Errorf("%s has no comment", fn.Name.Name)
				}
				for i, p := range fn.Type.Params.List {
					if isContext(p.Type) && i > 0 {
						t.Errorf("%s: the context is not the first parameter", fn.Name.Name)
					}
				}
			}
		}
	})
}

// simple lists methods whose names say enough.
var simple = map[string]bool{"Error": true, "String": true, "Read": true, "Close": true, "ReadAt": true, "WriteAt": true, "Size": true, "Flush": true, "Unwrap": true}

func receiverExported(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	ident, ok := typ.(*ast.Ident)
	return ok && ident.IsExported()
}

func isContext(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "context" && sel.Sel.Name == "Context"
}

// The library has no global state: no package changes its variables, has an init function, or reads
// the environment.
func TestNoGlobalState(t *testing.T) {
	eachPackage(t, func(t *testing.T, _ string, files, _ []*ast.File) {
		for _, what := range globalState(files) {
			t.Error(what)
		}
	})
}

func globalState(files []*ast.File) (found []string) {
	global := map[string]bool{}
	for _, f := range files {
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					global[name.Name] = name.Name != "_"
				}
			}
		}
	}
	for _, f := range files {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, "there is an init")
			}
			found = append(found, changes(fn, global)...)
		}
	}
	return found
}

// changes lists how fn changes global variables. A local variable may shadow a global one.
func changes(fn *ast.FuncDecl, global map[string]bool) (found []string) {
	local := map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if ident, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					local[ident.Name] = true
				}
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if ident, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					local[ident.Name] = true
				}
			}
		}
		return true
	})
	touch := func(e ast.Expr) {
		if name := rootOf(e); global[name] && !local[name] {
			found = append(found, fn.Name.Name+" changes "+name)
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				touch(e)
			}
		case *ast.IncDecStmt:
			touch(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				touch(n.X)
			}
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && rootOf(sel.X) == "os" && strings.Contains(sel.Sel.Name, "env") {
				found = append(found, fn.Name.Name+" looks at the environment")
			}
		}
		return true
	})
	return found
}

// rootOf returns the variable an expression is based on.
func rootOf(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}

// Check that the rule itself can fail.
func TestGlobalStateIsFound(t *testing.T) {
	const source = `package p
import "os"
var a, b, c, d, e = 1, map[int]int{}, 1, 1, 1
func init() {}
func f() { a = 2; b[1]++; g(&c); os.Getenv("HOME") }
func g(d *int) { d = nil; e := 1; e++ }`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"there is an init", "f changes a", "f changes b", "f changes c", "f looks at the environment"}
	if got := globalState([]*ast.File{f}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
