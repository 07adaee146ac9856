package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

// Schemas is the folder of the schemas, one per tool.
const Schemas = "../../docs/schema"

// ValidateJSON reads the JSON output of a tool. It returns an error if a line does not match the
// tool's schema in dir, or if the last line is neither a summary nor an error.
func ValidateJSON(dir, tool string, output io.Reader) error {
	if tool == "thin_generate" {
		tool = "thin_dump"
	}
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(dir, tool+".json"))
	if err != nil {
		return err
	}
	last := any(nil)
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(lines.Bytes()))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			return fmt.Errorf("%.300s: %w", lines.Text(), err)
		}
		object, ok := v.(map[string]any)
		switch {
		case !ok:
			return fmt.Errorf("%.300s: not an object", lines.Text())
		case last == "summary" && object["type"] != "error", last == "error":
			return fmt.Errorf("%.300s comes after the %s", lines.Text(), last)
		}
		last = object["type"]
	}
	if last != "summary" && last != "error" {
		return errors.Join(lines.Err(), fmt.Errorf("the last line has type %v", last))
	}
	return lines.Err()
}

// withJSON returns the tools with JSON output of their own. thin_generate writes dumps, like
// thin_dump.
func withJSON(t *testing.T) []string {
	var names []string
	for _, tool := range slices.Concat(Tools(), Apart()) {
		parser, err := kong.New(tool.New(), kong.NoDefaultHelp())
		if err != nil {
			t.Fatal(err)
		}
		format := func(f *kong.Flag) bool { return f.Name == "format" }
		if tool.Name != "thin_generate" && slices.ContainsFunc(parser.Model.Flags, format) {
			names = append(names, tool.Name)
		}
	}
	return names
}

// Every tool that prints JSON has a schema that compiles. No other schemas exist.
func TestSchemaPerTool(t *testing.T) {
	var want []string
	for _, tool := range withJSON(t) {
		want = append(want, tool+".json")
		if _, err := jsonschema.NewCompiler().Compile(filepath.Join(Schemas, tool+".json")); err != nil {
			t.Errorf("%s: %v", tool, err)
		}
	}
	entries, err := os.ReadDir(Schemas)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Name() != "common.json" {
			got = append(got, e.Name())
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("schemas %v, want %v", got, want)
	}
}

// Unknown fields and truncated streams are errors.
func TestSchemaIsStrict(t *testing.T) {
	const whole = `{"type":"device","dev_id":1,"mapped_blocks":1,"exclusive_blocks":1,"shared_blocks":0,"transaction_id":0,"creation_time":0,"snap_time":0,"data_block_size":128}
{"type":"summary","devices":1}
`
	for name, tc := range map[string]struct {
		text string
		ok   bool
	}{
		"whole":          {whole, true},
		"unknown field":  {strings.Replace(whole, `"dev_id"`, `"id":1,"dev_id"`, 1), false},
		"missing field":  {strings.Replace(whole, `"dev_id":1,`, "", 1), false},
		"cut":            {whole[:strings.Index(whole, "\n")+1], false},
		"nothing":        {"", false},
		"after summary":  {whole + whole, false},
		"failed":         {`{"type":"error","message":"m","exit_code":3}` + "\n", true},
		"failed in time": {whole + `{"type":"error","message":"m","exit_code":1}` + "\n", true},
	} {
		if err := ValidateJSON(Schemas, "thin_ls", strings.NewReader(tc.text)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The examples in docs/json.md are complete and match the schemas.
func TestSchemaOfExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^    \$ (thin_\w+).*\n((?:    \{.*\n)+)`)
	examples := command.FindAllStringSubmatch(string(text), -1)
	if len(examples) == 0 {
		t.Error("no example found")
	}
	for _, m := range examples {
		if err := ValidateJSON(Schemas, m[1], strings.NewReader(strings.ReplaceAll(m[2], "    {", "{"))); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	if lines, found := strings.Count(string(text), "\n    {"), strings.Count(strings.Join(slices.Concat(examples...), ""), "    {")/2; lines != found {
		t.Errorf("%d lines look like examples, and %d belong to a command", lines, found)
	}
}

// jsonArgs returns the arguments that make a tool print JSON about the metadata at path.
func jsonArgs(tool, path string) []string {
	switch tool {
	case "thin_rmap":
		return []string{"--format", "json", "--region", "0..-1", path}
	case "thin_shrink":
		return []string{"--format", "json", "--dry-run", "--binary", "--nr-blocks", "1000000000", "-i", path}
	case "thin_repair":
		return []string{"--format", "json", "--dry-run", "-i", path}
	case "thin_files":
		return []string{"--format", "json", "--range", "0..4096", path}
	case "thin_export":
		return metadataArgs(path, "")[tool]
	}
	return append([]string{"--format", "json"}, metadataArgs(path, "")[tool]...)
}

// For any input, each line matches the schema, and the last one says how the run ended. The inputs
// are images from a kernel, with every tenth block lost, without a superblock, and a file that is
// not metadata.
func TestSchemaOfImages(t *testing.T) {
	names := []string{"empty", "layers", "metadata-snap", "powercut"}
	dir := t.TempDir()
	var paths []string
	for _, name := range names {
		image := fixtures.Mem(t, name).Contents()
		for kind, first := range map[string]int{"sound": len(image), "damaged": 5, "lost": 0} {
			content := slices.Clone(image)
			for nr := first; nr*block.Size < len(content); nr += 10 {
				clear(content[nr*block.Size:][:100])
			}
			path := filepath.Join(dir, name+"-"+kind)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
	}
	paths = append(paths, dir, filepath.Join(dir, "missing"))
	for _, tool := range slices.Concat(Tools(), Apart()) {
		if !slices.Contains(withJSON(t), tool.Name) {
			continue
		}
		t.Run(tool.Name, func(t *testing.T) {
			t.Parallel()
			ends := map[bool]int{}
			for _, path := range paths {
				code, stdout, stderr := runTool(t, tool, jsonArgs(tool.Name, path)...)
				if err := ValidateJSON(Schemas, tool.Name, strings.NewReader(stdout)); err != nil {
					t.Errorf("%s: exit code %d, %v: %.300s", path, code, err, stderr)
				}
				lines := strings.Split(strings.TrimSpace(stdout), "\n")
				failed := strings.HasPrefix(lines[len(lines)-1], `{"type":"error"`)
				if ends[failed]++; code == 0 && failed || code > 1 && !failed {
					t.Errorf("%s: exit code %d, and the last line is %.300s", path, code, lines[len(lines)-1])
				}
			}
			if ends[true] == 0 || ends[false] == 0 && tool.Name != "thin_volumes" && tool.Name != "thin_files" {
				t.Errorf("%d runs failed, %d did not", ends[true], ends[false])
			}
		})
	}
}
