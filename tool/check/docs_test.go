package check_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documented returns the codes in a document, with the first word about each.
func documented(t *testing.T, path, pattern string) map[string]string {
	t.Helper()
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(strings.ReplaceAll(string(doc), `\-`, "-"), -1) {
		codes[m[1]] = strings.ToLower(m[2])
	}
	return codes
}

// The documentation lists exactly the codes that exist. Both documents give the same severities.
func TestCodesDocumented(t *testing.T) {
	doc := documented(t, "../../docs/faults.md", "(?m)^\\| `([a-z-]+)` \\| ([a-z-]+)")
	page := documented(t, "../../man8/thin_check.8", `(?m)^\.TP\n\.B ([a-z]+-[a-z-]+)\n([A-Za-z-]+)`)
	f, err := parser.ParseFile(token.NewFileSet(), "fault.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if ident, named := spec.Type.(*ast.Ident); !named || ident.Name != "Code" {
			return true
		}
		code := strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)
		codes = append(codes, code)
		for name, document := range map[string]map[string]string{"docs/faults.md": doc, "thin_check(8)": page} {
			if document[code] == "" {
				t.Errorf("%s lacks %s", name, code)
			}
		}
		if doc[code] != page[code] {
			t.Errorf("%s is %s in docs/faults.md, and %s in thin_check(8)", code, doc[code], page[code])
		}
		return true
	})
	if len(codes) < 30 {
		t.Errorf("only %d codes were found", len(codes))
	}
	for name, document := range map[string]map[string]string{"docs/faults.md": doc, "thin_check(8)": page} {
		for code := range document {
			if !slices.Contains(codes, code) {
				t.Errorf("%s has %s, which thin_check does not report", name, code)
			}
		}
	}
}
