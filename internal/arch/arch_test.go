// Package arch tests that imports go one way.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers lists the packages from top to bottom. A package may import those of lower layers.
var layers = [][]string{
	{"cmd/*", "test/damage/cmd", "test/browser/pictures", "internal/licenses/collect"},
	{"internal/command", "internal/demo", "internal/completions", "test/e2e", "test/damage", "test/format", "test/browser"},
	{"internal/source", "internal/view"},
	{"internal/cli"},
	{"xmlfmt", "textfmt", "jsonfmt", "packfmt", "tool/*", "internal/lvmcheck", "internal/lvmreport", "internal/lvmthin"},
	{"internal/textenc", "internal/undo", "internal/write", "internal/pdata/survey", "streamfmt", "metadata/volume", "lvm", "fixtures"},
	{"metadata", "disk"},
	{"internal/pdata/spacemap"},
	{"internal/pdata/btree", "internal/md", "lvm/internal/*", "disk/internal/*", "metadata/block/blocktest"},
	{"metadata/block", "internal/blockset", "internal/dm", "internal/licenses", "internal/luks", "internal/lvmconfig", "internal/newfile", "internal/printable", "internal/raid", "test/shared", "fsmap"},
}

// exceptions lists allowed imports within a layer, and exemptions from other limits.
var exceptions = map[string][]string{
	"internal/demo": {"internal/command"},
	"tool/report":   {"tool/check"}, // it shows what a check found
	// It shows what these find.
	"tool/explore":         {"tool/check", "tool/delta", "tool/repair", "tool/rmap", "tool/scan"},
	"internal/completions": {"internal/command"},
}

// only lists the packages that alone may import something.
var only = map[string][]string{
	"github.com/alecthomas/kong":        {"internal/cli", "internal/command"},
	"thinpool/fixtures":                 {"internal/demo", "test/e2e", "test/damage", "test/format"},
	"thinpool/metadata/block/blocktest": {"fixtures", "internal/demo", "test/e2e", "test/damage"},
	"github.com/h2non/filetype":         {"disk"},
	"github.com/lima-vm/go-qcow2reader": {"disk"},
	"golang.org/x/term":                 {"internal/cli"},
	"charm.land/bubbletea/v2":           {"cmd/thin_explore"}, // a module of its own
	"charm.land/lipgloss/v2":            {"cmd/thin_explore"},
	"golang.org/x/crypto/argon2":        {"internal/luks"},
}

// most lists which of our packages a package may import, if fewer than all below it.
var most = map[string][]string{
	"internal/cli": {"internal/printable"},
	"disk":         {"internal/luks", "internal/md", "internal/printable", "disk/internal/partition", "metadata/block"},
	"lvm":          {"disk", "internal/printable", "internal/raid", "lvm/internal/text", "metadata/block"},
	"internal/md":  {"internal/raid"},
	"fsmap":        {},
}

// blockMayImport lists what metadata/block may import besides the standard library.
var blockMayImport = []string{"golang.org/x/sys/unix", "golang.org/x/sync/errgroup"}

const root = "../.."

func TestImports(t *testing.T) {
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") || strings.Contains(filepath.ToSlash(file), "/testdata/") {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(rel))
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := forbidden(pkg, imported); why != "" {
				t.Errorf("%s imports %s: %s", rel, imported, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func forbidden(pkg, imported string) string {
	if allowed, ok := only[imported]; ok && !slices.Contains(allowed, pkg) {
		return "only " + strings.Join(allowed, ", ") + " may"
	}
	inner, ours := strings.CutPrefix(imported, "thinpool/")
	switch {
	case !ours && pkg == "metadata/block" && strings.Contains(imported, ".") && !slices.Contains(blockMayImport, imported):
		return "the lowest layer has no such dependency"
	case !ours:
		return ""
	}
	from, to := layer(pkg), layer(inner)
	allowed, limited := most[pkg]
	switch {
	case limited && !slices.Contains(allowed, inner):
		return "it may import " + strings.Join(allowed, ", ") + " only"
	case from < 0:
		return pkg + " is in no layer"
	case to < 0:
		return inner + " is in no layer"
	case to <= from && !slices.Contains(exceptions[pkg], inner):
		return "imports go down only"
	}
	return ""
}

func layer(pkg string) int {
	return slices.IndexFunc(layers, func(layer []string) bool {
		return slices.ContainsFunc(layer, func(pattern string) bool {
			ok, _ := path.Match(pattern, pkg)
			return ok
		})
	})
}

// Check that the rule itself can fail.
func TestForbidden(t *testing.T) {
	for _, tc := range []struct {
		pkg, imported string
		wrong         bool
	}{
		{"metadata", "thinpool/internal/pdata/btree", false},
		{"internal/pdata/btree", "thinpool/metadata", true},
		{"xmlfmt", "thinpool/jsonfmt", true},
		{"tool/check", "github.com/alecthomas/kong", true},
		{"metadata/block", "github.com/klauspost/compress/zstd", true},
		{"internal/command", "thinpool/fixtures", true},
		{"tool/explore", "thinpool/tool/scan", false},
		{"tool/explore", "thinpool/tool/dump", true},
		{"tool/scan", "thinpool/tool/explore", true},
		{"internal/command", "charm.land/bubbletea/v2", true},
		{"tool/check", "thinpool/metadata/block/blocktest", true},
		{"fixtures", "thinpool/metadata/block/blocktest", false},
		{"new", "thinpool/metadata", true},
		{"lvm", "thinpool/internal/raid", false},
		{"lvm", "thinpool/internal/printable", false},
		{"lvm", "thinpool/internal/pdata/btree", true},
		{"lvm/internal/text", "thinpool/metadata/block", false},
		{"metadata", "thinpool/lvm", true},
		{"internal/cli", "thinpool/metadata/block", true},
		{"internal/view", "thinpool/internal/source", true},
		{"internal/md", "thinpool/internal/raid", false},
		{"internal/md", "thinpool/internal/luks", true},
		{"internal/luks", "golang.org/x/crypto/argon2", false},
		{"internal/source", "golang.org/x/crypto/argon2", true},
	} {
		if got := forbidden(tc.pkg, tc.imported) != ""; got != tc.wrong {
			t.Errorf("%s imports %s: forbidden %v, want %v", tc.pkg, tc.imported, got, tc.wrong)
		}
	}
}
