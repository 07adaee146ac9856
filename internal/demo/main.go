// Command demo shows what the tools do, on metadata that a real kernel wrote. It
// needs nothing but Go: "make demo" runs it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/internal/command"
)

const image = "layers"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "thinpool-demo")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chdir(dir); err != nil {
		return err
	}
	content, err := fixtures.Image(image)
	if err != nil {
		return err
	}
	if err := os.WriteFile("pool.meta", content, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile("new.meta", make([]byte, len(content)), 0o644); err != nil {
		return err
	}
	truths, err := fixtures.Truths()
	if err != nil {
		return err
	}
	fmt.Printf(`
  pool.meta is the metadata of a thin pool, %d MiB, as a Linux kernel left it:
  %s.
`, len(content)>>20, truths[image].What)
	for _, s := range steps {
		if err := s.show(); err != nil {
			return err
		}
	}
	before, err := os.ReadFile("pool.xml")
	if err != nil {
		return err
	}
	after, err := os.ReadFile("new.xml")
	if err != nil {
		return err
	}
	if !bytes.Equal(before, after) {
		return fmt.Errorf("pool.xml and new.xml differ")
	}
	fmt.Printf("\n  pool.xml and new.xml are equal, byte for byte: %d lines.\n  The new metadata holds all that the old one did, and takes less room.\n\n", bytes.Count(before, []byte{'\n'}))
	return nil
}

// A step is a command line and what it is for.
type step struct {
	why   string
	tool  cli.Tool
	args  string
	lines int // of its output to show; 0: all
}

var steps = []step{
	{"Is it sound? All trees, all reference counts:", command.CheckTool, "pool.meta", 0},
	{"Which devices are in it, and what would deleting one give back?", command.LsTool, "-o DEV,MAPPED,EXCLUSIVE,SHARED,CREATE_TIME,SNAP_TIME pool.meta", 0},
	{"What lies where? The whole of it, shared parts written once:", command.DumpTool, "pool.meta", 12},
	{"A dump that repeats shared parts compares best:", command.DumpTool, "--style 0.9 -o pool.xml pool.meta", 0},
	{"Make new metadata of a dump:", command.DumpTool, "-o pool.json.zst -f json pool.meta", 0},
	{"", command.RestoreTool, "-i pool.json.zst -o new.meta", 0},
	{"Is that sound, too? --strict lets nothing pass:", command.CheckTool, "--strict new.meta", 0},
	{"And does it say the same?", command.DumpTool, "--style 0.9 -o new.xml new.meta", 0},
	{"How much metadata would a pool of 1 TiB need?", command.MetadataSizeTool, "-b64k -s1t -m100 --explain", 0},
}

func (s step) show() error {
	if s.why != "" {
		fmt.Printf("\n  %s\n\n", s.why)
	}
	fmt.Printf("    $ %s %s\n", s.tool.Name, s.args)
	var out bytes.Buffer
	if code := cli.Run(context.Background(), s.tool, strings.Fields(s.args), os.Stdin, &out, &out); code != 0 {
		return fmt.Errorf("%s %s: exit code %d\n%s", s.tool.Name, s.args, code, &out)
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if out.Len() == 0 {
		return nil
	}
	for i, line := range lines {
		if s.lines > 0 && i == s.lines {
			fmt.Printf("    ... %d more lines\n", len(lines)-i)
			break
		}
		fmt.Println("    " + line)
	}
	return nil
}
