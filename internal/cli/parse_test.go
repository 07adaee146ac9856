package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// odd has one option of every kind.
type odd struct {
	Common
	Output  string   `short:"o" aliases:"out-file" help:"Where it goes."`
	Skip    bool     `short:"s"`
	Super   bool     `name:"super-block-only"`
	Snap    Optional `short:"m" name:"metadata-snap" number:""`
	Numeric Optional `short:"n" name:"numeric-only" words:"short,long"`
	ID      []uint64 `name:"dev-id" sep:"none"`
	Root    *uint32  `name:"root"`
	Block   *Size    `short:"b" name:"block-size"`
	Input   string   `arg:""`
	Ignored string   `arg:"" optional:"" hidden:""`
}

func (*odd) Run(*Env) error { return nil }

func parseOdd(t *testing.T, line string) (*odd, string, error) {
	t.Helper()
	o := new(odd)
	k, err := newParser(Tool{Name: "odd"}, o)
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(line)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "''", "")
	}
	w := split(k.Model.Node, args)
	if w.action != "" {
		return o, w.action, nil
	}
	return o, "", w.parse(k)
}

func TestParse(t *testing.T) {
	nine := uint32(9)
	kib := Size{Bytes: 65536, Number: 64, Unit: Units[2]}
	snap := func(v string) Optional { return Optional{Set: true, Value: v} }
	for line, want := range map[string]odd{
		"f":                               {Input: "f"},
		"--output a f":                    {Output: "a", Input: "f"},
		"-o a\xff,\\,b f\x80":             {Output: "a\xff,\\,b", Input: "f\x80"},
		"--output=a f":                    {Output: "a", Input: "f"},
		"--output=a=b f":                  {Output: "a=b", Input: "f"},
		"--output= f":                     {Input: "f"},
		"-o a f":                          {Output: "a", Input: "f"},
		"-oa f":                           {Output: "a", Input: "f"},
		"-o=a f":                          {Output: "a", Input: "f"},
		"-o==a f":                         {Output: "=a", Input: "f"},
		"-o -s f":                         {Output: "-s", Input: "f"},
		"--out a f":                       {Output: "a", Input: "f"},
		"--out-file a f":                  {Output: "a", Input: "f"},
		"--super f":                       {Super: true, Input: "f"},
		"f -s --output a":                 {Skip: true, Output: "a", Input: "f"},
		"-sqoa f":                         {Skip: true, Common: Common{Basic: Basic{Quiet: true}}, Output: "a", Input: "f"},
		"-s -s -q -q f":                   {Skip: true, Common: Common{Basic: Basic{Quiet: true}}, Input: "f"},
		"-vv --verbose f":                 {Common: Common{Verbose: 3}, Input: "f"},
		"-- -s":                           {Input: "-s"},
		"-s -- --output --":               {Skip: true, Input: "--output", Ignored: "--"},
		"-":                               {Input: "-"},
		"f ''":                            {Input: "f"},
		"'' f":                            {Ignored: "f"},
		"-m f":                            {Snap: snap(""), Input: "f"},
		"-m7 f":                           {Snap: snap("7"), Input: "f"},
		"-m=7 f":                          {Snap: snap("7"), Input: "f"},
		"-m+7 f":                          {Snap: snap("7"), Input: "f"},
		"-ms f":                           {Snap: snap(""), Skip: true, Input: "f"},
		"-sm7 f":                          {Snap: snap("7"), Skip: true, Input: "f"},
		"--metadata-snap f":               {Snap: snap(""), Input: "f"},
		"--metadata-snap=7 f":             {Snap: snap("7"), Input: "f"},
		"--metadata-snap 7 f":             {Snap: snap("7"), Input: "f"},
		"-m 7 f":                          {Snap: snap("7"), Input: "f"},
		"f -m 7":                          {Snap: snap("7"), Input: "f"},
		"f --meta 7 -s":                   {Snap: snap("7"), Skip: true, Input: "f"},
		"-m 7":                            {Snap: snap(""), Input: "7"},
		"-m 7 -- 8":                       {Snap: snap("7"), Input: "8"},
		"-m -- 7 8":                       {Snap: snap(""), Input: "7", Ignored: "8"},
		"-n f":                            {Numeric: snap(""), Input: "f"},
		"-nshort f":                       {Numeric: snap("short"), Input: "f"},
		"-n=short f":                      {Numeric: snap("short"), Input: "f"},
		"-nl f":                           {Numeric: snap("long"), Input: "f"},
		"--numeric-only=sh f":             {Numeric: snap("short"), Input: "f"},
		"-n short":                        {Numeric: snap(""), Input: "short"},
		"--dev-id 7 --dev-id=+08 f":       {ID: []uint64{7, 8}, Input: "f"},
		"--root 009 f":                    {Root: &nine, Input: "f"},
		"-b64k f":                         {Block: &kib, Input: "f"},
		"--io-engine sync f":              {Common: Common{Basic: Basic{IOEngine: "sync"}}, Input: "f"},
		"--io=async f":                    {Common: Common{Basic: Basic{IOEngine: "async"}}, Input: "f"},
		"--dev-id=18446744073709551615 f": {ID: []uint64{1<<64 - 1}, Input: "f"},
	} {
		got, action, err := parseOdd(t, line)
		if err != nil || action != "" {
			t.Errorf("%s: action %q, error %v", line, action, err)
			continue
		}
		if d := cmp.Diff(&want, got); d != "" {
			t.Errorf("%s: -want +got:\n%s", line, d)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"":                                "INPUT is missing",
		"f '' g":                          `unexpected argument "g"`,
		"--bogus f":                       "unknown option --bogus",
		"--=x f":                          "unknown option --",
		"-x f":                            "unknown option -x",
		"-sx f":                           "unknown option -x",
		"--s f":                           "--s is ambiguous: --skip, --super-block-only",
		"-o":                              "--output needs a value",
		"--output":                        "--output needs a value",
		"--skip=yes f":                    "--skip takes no value",
		"-s=yes f":                        "-s takes no value",
		"-oa -ob f":                       "--output is given twice",
		"--output=a --out-file=a f":       "--output is given twice",
		"-n -n f":                         "--numeric-only is given twice",
		"-m -m7 f":                        "--metadata-snap is given twice",
		"-nlongshort f":                   `--numeric-only: "longshort" is none of short, long`,
		"--numeric-only= f":               `--numeric-only: "" is none of short, long`,
		"-m=x f":                          `--metadata-snap: "x" is not a number`,
		"--metadata-snap=-1 f":            `--metadata-snap: "-1" is not a number`,
		"--dev-id 0x10 f":                 `--dev-id: "0x10" is not a number`,
		"--dev-id 1_0 f":                  `--dev-id: "1_0" is not a number`,
		"--dev-id -1 f":                   `--dev-id: "-1" is not a number`,
		"--dev-id 1.5 f":                  `--dev-id: "1.5" is not a number`,
		"--dev-id= f":                     `--dev-id: "" is not a number`,
		"--dev-id + f":                    `--dev-id: "+" is not a number`,
		"--dev-id 1,2 f":                  `--dev-id: "1,2" is not a number`,
		"--root 4294967296 f":             "--root: 4294967296 is too large",
		"--block-size 1.5k f":             `--block-size: size "1.5k": unknown unit ".5k"`,
		"--dev-id 18446744073709551616 f": "--dev-id: 18446744073709551616 is too large",
	} {
		_, action, err := parseOdd(t, line)
		if err == nil || !strings.HasPrefix(err.Error(), want) || action != "" {
			t.Errorf("%s: action %q, error %v, want %s", line, action, err, want)
		}
	}
}

// Help and version count in any position, but not as values.
func TestParseActions(t *testing.T) {
	for line, want := range map[string]string{
		"-V":                 "version",
		"--version f":        "version",
		"--vers":             "version",
		"--bogus -V":         "version",
		"-x -oa -oa a b c V": "",
		"-sV f":              "version",
		"-V -h":              "version",
		"-h -V":              "help",
		"a b c --help":       "help",
		"-o -V f":            "",
		"--output --help f":  "",
		"-- -V":              "",
	} {
		if _, got, _ := parseOdd(t, line); got != want {
			t.Errorf("%s: action %q, want %q", line, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-m 7 f --output=a")
	f.Fuzz(func(t *testing.T, line string) {
		_, _, _ = parseOdd(t, line) // it may refuse, but not panic
	})
}

func TestHelpNamesEveryOption(t *testing.T) {
	var out, errs strings.Builder
	tool := Tool{"odd", "Has an option of every sort.", func() Command { return new(odd) }}
	if code := Run(context.Background(), tool, []string{"-h"}, nil, &out, &errs); code != 0 || errs.Len() > 0 {
		t.Fatalf("exit code %d, stderr %q", code, errs.String())
	}
	for _, want := range []string{
		"Usage: odd [OPTION]... INPUT\n", "  -m, --metadata-snap[=METADATA-SNAP]\n", "  -s, --skip\n", "  -o, --output=OUTPUT           Where it goes.\n",
		"      --super-block-only\n", "Exit codes: 0 success, 1 failure, 2 wrong command line, 3 access or I/O error.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "io-engine") {
		t.Error("a hidden option is shown")
	}
}
