// Command demo shows what the tools do, on metadata written by a real kernel. It needs nothing but
// Go. Run it with "make demo".
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/internal/command"
	"thinpool/metadata/block"
)

const (
	image       = "layers"
	mappingRoot = 880 // of the image
)

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
	for _, empty := range []string{"new.meta", "saved.meta"} {
		if err := os.WriteFile(empty, make([]byte, len(content)), 0o644); err != nil {
			return err
		}
	}
	truths, err := fixtures.Truths()
	if err != nil {
		return err
	}
	fmt.Printf(`
  pool.meta is the metadata of a thin pool, %d MiB, as a Linux kernel left it:
  %s.
`, len(content)>>20, truths[image].What)
	if err := show(steps); err != nil {
		return err
	}
	if err := compare("pool.xml", "new.xml"); err != nil {
		return err
	}
	fmt.Print("  The new metadata holds all that the old one did, and takes less room.\n")
	if err := wipe("pool.meta", mappingRoot); err != nil {
		return err
	}
	fmt.Printf("\n  Now disaster: block %d, the root of all mappings, is overwritten with zeroes.\n", mappingRoot)
	if err := show(rescue); err != nil {
		return err
	}
	if err := compare("pool.xml", "saved.xml"); err != nil {
		return err
	}
	fmt.Print("  Nothing was lost: the reference counts knew which trees were in use.\n\n")
	return nil
}

// show runs steps and prints their output.
func show(steps []step) error {
	for _, s := range steps {
		if err := s.show(); err != nil {
			return err
		}
	}
	return nil
}

// compare returns an error unless two files are equal.
func compare(a, b string) error {
	before, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	after, err := os.ReadFile(b)
	if err != nil {
		return err
	}
	if !bytes.Equal(before, after) {
		return fmt.Errorf("%s and %s differ", a, b)
	}
	fmt.Printf("\n  %s and %s are equal, byte for byte: %d lines.\n", a, b, bytes.Count(before, []byte{'\n'}))
	return nil
}

// wipe overwrites a block with zeroes.
func wipe(path string, nr block.Nr) error {
	dev, err := block.Open(path, block.Options{Write: true})
	if err != nil {
		return err
	}
	return errors.Join(block.Write(dev, nr, new(block.Data)), dev.Close())
}

// A step is a command line and its purpose.
type step struct {
	why   string
	tool  cli.Tool
	args  string
	lines int // lines of output to show; 0: all
	code  int // expected exit code
}

var steps = []step{
	{"Is it sound? All trees, all reference counts:", command.CheckTool, "pool.meta", 0, 0},
	{"Which devices are in it, and what would deleting one give back?", command.LsTool, "-o DEV,MAPPED,EXCLUSIVE,SHARED,CREATE_TIME,SNAP_TIME pool.meta", 0, 0},
	{"What lies where? The whole of it, shared parts written once:", command.DumpTool, "pool.meta", 12, 0},
	{"A dump that repeats shared parts compares best:", command.DumpTool, "--style 0.9 -o pool.xml pool.meta", 0, 0},
	{"Dump it, and restore the dump into an empty file (truncate -r pool.meta new.meta):", command.DumpTool, "-o pool.json.zst -f json pool.meta", 0, 0},
	{"", command.RestoreTool, "-i pool.json.zst -o new.meta", 0, 0},
	{"Is that sound, too? --strict lets nothing pass:", command.CheckTool, "--strict new.meta", 0, 0},
	{"And does it say the same?", command.DumpTool, "--style 0.9 -o new.xml new.meta", 0, 0},
	{"How much metadata would a pool of 1 TiB need?", command.MetadataSizeTool, "-b64k -s1t -m100 --explain", 0, 0},
}

var rescue = []step{
	{"What is wrong, and what to do?", command.CheckTool, "pool.meta", 6, 1},
	{"The damaged metadata is only read; what can be saved becomes new metadata:", command.RepairTool, "-i pool.meta -o saved.meta", 0, 0},
	{"", command.CheckTool, "--strict saved.meta", 0, 0},
	{"", command.DumpTool, "--style 0.9 -o saved.xml saved.meta", 0, 0},
}

func (s step) show() error {
	if s.why != "" {
		fmt.Printf("\n  %s\n\n", s.why)
	}
	fmt.Printf("    $ %s %s\n", s.tool.Name, s.args)
	var out bytes.Buffer
	if code := cli.Run(context.Background(), s.tool, strings.Fields(s.args), os.Stdin, &out, &out); code != s.code {
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
