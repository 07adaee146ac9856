package check_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// Every code is in the documentation.
func TestCodesDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if ident, named := spec.Type.(*ast.Ident); !named || ident.Name != "Code" {
			return true
		}
		codes++
		if code := strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`); !strings.Contains(string(doc), "`"+code+"`") {
			t.Errorf("docs/faults.md lacks %s", code)
		}
		return true
	})
	if codes < 30 {
		t.Errorf("only %d codes were found", codes)
	}
}
