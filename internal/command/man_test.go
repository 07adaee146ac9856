package command

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"thinpool/internal/cli"
)

// Every option has its place in the man page, spelled as in the help, and the
// man page has no other.
func TestManPages(t *testing.T) {
	option := regexp.MustCompile(`(?m)^\.B (-.*)$`)
	for _, tool := range Tools() {
		page, err := os.ReadFile("../../man8/" + tool.Name + ".8")
		if err != nil {
			t.Error(err)
			continue
		}
		parser, err := kong.New(tool.New(), kong.NoDefaultHelp())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(page), `\-`, "-")
		var documented, there []string
		for _, m := range option.FindAllStringSubmatch(text, -1) {
			documented = append(documented, m[1])
		}
		for _, f := range parser.Model.Flags {
			if !f.Hidden {
				there = append(there, strings.TrimSpace(cli.Spelling(f)))
			}
		}
		slices.Sort(documented)
		slices.Sort(there)
		if !slices.Equal(documented, there) {
			t.Errorf("%s: the man page has\n%q\nand the tool\n%q", tool.Name, documented, there)
		}
		if !strings.Contains(text, "thinpool "+cli.Version) {
			t.Errorf("%s: the man page is of another version", tool.Name)
		}
	}
}
