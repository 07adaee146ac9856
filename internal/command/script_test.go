package command_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/internal/command"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/test/shared"
)

// Scripts run the tools as separate processes.
func TestMain(m *testing.M) {
	commands := map[string]func(){"thin_tools": command.Multi().Main}
	for _, t := range slices.Concat(command.Tools(), command.Apart()) {
		commands[t.Name] = func() { mainWithSchema(t) }
	}
	testscript.Main(m, commands)
}

// schemasAt names the schema folder for processes started by scripts.
const schemasAt = "TEST_SCHEMAS"

// mainWithSchema runs a tool as a process. JSON output must match the schema.
func mainWithSchema(t cli.Tool) {
	dir := os.Getenv(schemasAt)
	if dir == "" || !slices.ContainsFunc(os.Args[1:], func(word string) bool { return strings.HasSuffix(word, "json") }) {
		cli.Main(t)
	}
	var printed bytes.Buffer
	code := cli.Run(context.Background(), t, os.Args[1:], os.Stdin, io.MultiWriter(os.Stdout, &printed), os.Stderr)
	if strings.HasPrefix(printed.String(), "{") {
		if err := command.ValidateJSON(dir, t.Name, &printed); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 99
		}
	}
	os.Exit(code)
}

func TestScripts(t *testing.T) {
	schemas, err := filepath.Abs(command.Schemas)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(schemasAt, schemas)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // without it, every process takes an extra second with -race
			return nil
		},
		// [shared:NAME] is true if the case exists beside the repository.
		Condition: func(cond string) (bool, error) {
			name, ok := strings.CutPrefix(cond, "shared:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			return shared.Has("cases", name), nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fixture": fixture,
			"history": history,
			"shared":  sharedCase,
			"file":    file,
			"cut":     cut,
			"spoil":   spoil,
			"zero":    zero,
			"odd":     odd,
			"flip":    flip,
			"copy":    copyBlock,
			"take":    take,
			"flag":    flag,
			"write":   write,
			"at":      at,
			"first":   first,
			"full": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), full(t), 0o644))
			},
			// writable FILE DEVICES: metadata in which many devices would all write to one data
			// block in place.
			"writable": func(ts *testscript.TestScript, _ bool, args []string) {
				devices, err := strconv.Atoi(args[1])
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), fixtures.Writable(t, devices, false).Contents(), 0o644))
			},
			// orphans FILE: devices 1 and 2 have 100 mappings each, device 5 has 50. Their trees
			// are in blocks 1, 2 and 3, but the top-level tree is lost.
			"orphans": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), orphans(t), 0o644))
			},
			"exitcode": exitcode,
			// disks NAME writes the disks of a case, each to a file with the name of the disk.
			"disks": func(ts *testscript.TestScript, _ bool, args []string) {
				paths, _ := fixtures.Disks(t, args[0])
				for _, path := range paths {
					ts.Check(os.Rename(path, ts.MkAbs(filepath.Base(path))))
				}
			},
			// layout DISK LAYOUT FILE writes the LVM text of a disk, with another layout.
			"layout": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(fixtures.Layout(t, ts.MkAbs(args[0]), args[1])), 0o644))
			},
			"clone":  clone,
			"same":   same,
			"within": within,
			"locked": locked,
			"qcow2":  qcow2,
			// md FILE ROLE EVENTS IMAGE creates a leg of a two-way mirror.
			"md": func(ts *testscript.TestScript, _ bool, args []string) {
				content, err := os.ReadFile(ts.MkAbs(args[0]))
				ts.Check(err)
				role, err := strconv.Atoi(args[1])
				ts.Check(err)
				events, err := strconv.ParseUint(args[2], 10, 64)
				ts.Check(err)
				leg := fixtures.Leg{Level: 1, Devices: 2, Role: role, Events: events}
				ts.Check(os.WriteFile(ts.MkAbs(args[3]), leg.Make(content), 0o644))
			},
			// luks FILE IMAGE PASSPHRASE encrypts a file.
			"luks": func(ts *testscript.TestScript, _ bool, args []string) {
				content, err := os.ReadFile(ts.MkAbs(args[0]))
				ts.Check(err)
				encrypted, err := fixtures.LUKS1(content, args[2])
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), encrypted, 0o644))
			},
			// overlay FILE BACKING FORMAT writes a qcow2 image with a backing file.
			"overlay": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), command.Overlay(args[1], args[2], 192<<20), 0o644))
			},
		},
	})
}

// fixture NAME FILE writes an image created by a kernel.
func fixture(ts *testscript.TestScript, _ bool, args []string) {
	content, err := fixtures.Image(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), content, 0o644))
}

// history NAME FILE writes an image with many commits by a kernel.
func history(ts *testscript.TestScript, _ bool, args []string) {
	h, err := fixtures.OpenHistory(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), h.Image, 0o644))
}

// sharedCase CASE/IMAGE FILE writes an image of a case beside the repository.
func sharedCase(ts *testscript.TestScript, _ bool, args []string) {
	packed, err := os.Open(shared.File("cases", args[0]))
	ts.Check(err)
	defer packed.Close()
	dec, err := zstd.NewReader(packed)
	ts.Check(err)
	defer dec.Close()
	out, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	_, err = io.Copy(out, dec)
	ts.Check(errors.Join(err, out.Close()))
}

// file NAME SIZE creates a file of zeros; "! file GLOB" fails if one exists.
func file(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		if found, _ := filepath.Glob(ts.MkAbs(args[0])); len(found) > 0 {
			ts.Fatalf("there is %v", found)
		}
		return
	}
	var size cli.Size
	ts.Check(size.UnmarshalText([]byte(args[1])))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), nil, 0o644))
	ts.Check(os.Truncate(ts.MkAbs(args[0]), int64(size.Bytes)))
}

// cut FILE BLOCKS truncates a file to the first blocks.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	blocks, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), blocks*block.Size))
}

// spoil FILE BLOCK OFFSET inverts all bits of a byte of a block.
func spoil(ts *testscript.TestScript, _ bool, args []string) { invert(ts, args, 0xff) }

// flip FILE BLOCK OFFSET inverts the lowest bit of a byte of a block.
func flip(ts *testscript.TestScript, _ bool, args []string) { invert(ts, args, 1) }

func invert(ts *testscript.TestScript, args []string, bits byte) {
	at, err := strconv.Atoi(args[2])
	ts.Check(err)
	edit(ts, args[:2], func(b *block.Data) { b[at] ^= bits })
}

// copy FILE FROM TO copies a block over another.
func copyBlock(ts *testscript.TestScript, _ bool, args []string) {
	var from block.Data
	edit(ts, args[:2], func(b *block.Data) { from = *b })
	edit(ts, []string{args[0], args[2]}, func(b *block.Data) { *b = from })
}

// take FILE BLOCK FROM copies a block from the same position in another file.
func take(ts *testscript.TestScript, _ bool, args []string) {
	var from block.Data
	edit(ts, []string{args[2], args[1]}, func(b *block.Data) { from = *b })
	edit(ts, args[:2], func(b *block.Data) { *b = from })
}

// flag FILE BLOCK sets the needs_check flag of a superblock.
func flag(ts *testscript.TestScript, _ bool, args []string) {
	const flags = 4
	edit(ts, args, func(b *block.Data) {
		b[flags] |= metadata.NeedsCheck
		block.Reseal(b, block.Superblock)
	})
}

// write FILE OFFSET TEXT overwrites bytes of a file.
func write(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt([]byte(args[2]), at)
	ts.Check(err)
}

// at FILE OFFSET TEXT fails unless the file has TEXT there.
func at(ts *testscript.TestScript, _ bool, args []string) {
	offset, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	got := make([]byte, len(args[2]))
	if _, err := f.ReadAt(got, offset); err != nil || string(got) != args[2] {
		ts.Fatalf("%s at %d: %q, %v; want %q", args[0], offset, got, err, args[2])
	}
}

// zero FILE BLOCK... zeroes metadata blocks.
func zero(ts *testscript.TestScript, _ bool, args []string) {
	edit(ts, args, func(b *block.Data) { *b = block.Data{} })
}

// odd FILE BLOCK... gives nodes a padding that is not zero, as some tools did.
func odd(ts *testscript.TestScript, _ bool, args []string) {
	const padding = 28
	edit(ts, args, func(b *block.Data) {
		b[padding] = 1
		block.Reseal(b, block.Node)
	})
}

func edit(ts *testscript.TestScript, args []string, change func(*block.Data)) {
	// Not block.Open: another test may start a process meanwhile, which would inherit the lock.
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	for _, arg := range args[1:] {
		nr, err := strconv.ParseUint(arg, 10, 64)
		ts.Check(err)
		var b block.Data
		_, err = f.ReadAt(b[:], int64(nr)*block.Size)
		ts.Check(err)
		change(&b)
		_, err = f.WriteAt(b[:], int64(nr)*block.Size)
		ts.Check(err)
	}
}

// first COMMAND... runs a tool like LVM does: it reads the first line of output and closes the
// pipe. The tool must then exit with 0 and print no error.
func first(ts *testscript.TestScript, _ bool, args []string) {
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	line, err := bufio.NewReaderSize(out, 128).ReadString('\n')
	ts.Check(err)
	ts.Check(out.Close())
	ts.Check(cmd.Wait())
	if stderr.Len() > 0 {
		ts.Fatalf("stderr: %s", stderr.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("first"), []byte(line), 0o644))
}

// locked FILE COMMAND... runs a tool, which must fail, while the file is locked.
func locked(ts *testscript.TestScript, _ bool, args []string) {
	dev, err := block.Open(ts.MkAbs(args[0]), block.Options{Write: true})
	ts.Check(err)
	defer dev.Close()
	exitcode(ts, false, append([]string{"3"}, args[1:]...))
}

// qcow2 RAW FILE converts a disk of at most 512 MiB to qcow2, without reference counts.
func qcow2(ts *testscript.TestScript, _ bool, args []string) {
	const cluster, l1, l2, data = 1 << 16, 1, 2, 3 // cluster size in bytes; positions in clusters
	const copied = 1 << 63
	raw, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	be := binary.BigEndian
	out := make([]byte, data*cluster)
	copy(out, "QFI\xfb")
	be.PutUint32(out[4:], 2) // version
	be.PutUint32(out[20:], 16)
	be.PutUint64(out[24:], uint64(len(raw)))
	be.PutUint32(out[36:], 1) // entries of the L1 table
	be.PutUint64(out[40:], l1*cluster)
	be.PutUint64(out[l1*cluster:], copied|l2*cluster)
	nr := 0
	for piece := range slices.Chunk(raw, cluster) {
		if len(bytes.TrimLeft(piece, "\x00")) > 0 {
			be.PutUint64(out[l2*cluster+8*nr:], copied|uint64(len(out)))
			out = append(out, piece...)
		}
		nr++
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out, 0o644))
}

// full returns metadata with needs_check set, a leaked data block and no free blocks.
func full(t *testing.T) []byte {
	const blocks = 10
	f := fixtures.NewForge(t, blocks, 1000)
	f.Superblock.Flags = metadata.NeedsCheck
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
	f.LeakData(500)
	return f.Finish().Contents()
}

// orphans returns the image for the command of that name.
func orphans(t *testing.T) []byte {
	const blocks = 64
	f := fixtures.NewForge(t, blocks, 10000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 100}))
	f.Device(2, f.Leaf(metadata.Run{Thin: 500, Data: 1000, Len: 100}))
	f.Device(5, f.Leaf(metadata.Run{Thin: 0, Data: 2000, Len: 50}))
	image := f.Finish()
	if err := block.Write(image, f.Superblock.MappingRoot, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	return image.Contents()
}

// exitcode CODE COMMAND... runs a tool that must exit with that code.
func exitcode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want, _ := strconv.Atoi(args[0]); code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}
