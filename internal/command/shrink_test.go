package command

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/shrink"
)

const shrinkBlock = 128 * 512

// sparsePool returns a pool of 60 data blocks. Every third is in use and shared by two devices. No
// two data blocks have the same content.
func sparsePool(tb testing.TB) (meta *blocktest.Mem, data []byte) {
	f := fixtures.NewForge(tb, 64, 60)
	var runs []metadata.Run
	for i := range 20 {
		runs = append(runs, metadata.Run{Thin: metadata.ThinBlock(i), Data: metadata.DataBlock(3 * i), Len: 1})
	}
	leaf := f.Leaf(runs...)
	f.Device(1, leaf)
	f.Device(2, leaf)
	for b := range 60 {
		data = append(data, bytes.Repeat([]byte{byte(b + 1)}, shrinkBlock)...)
	}
	return f.Finish(), data
}

// contentOf returns what each thin block reads as, by device; nil if the metadata is not sound.
func contentOf(t *testing.T, meta block.Device, data []byte) map[string]byte {
	t.Helper()
	sum, err := check.Run(t.Context(), meta, check.Options{}, func(check.Fault) {})
	if err != nil || sum.Fatal > 0 {
		return nil
	}
	p, err := metadata.Open(meta, metadata.Options{})
	if err != nil {
		return nil
	}
	all := map[string]byte{}
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range p.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range r.Len {
				b := data[(uint64(r.Data)+i)*shrinkBlock:][:shrinkBlock]
				if bytes.Count(b, b[:1]) != len(b) {
					t.Fatalf("data block %d is torn", uint64(r.Data)+i)
				}
				all[fmt.Sprint(d.ID, r.Thin+metadata.ThinBlock(i))] = b[0]
			}
		}
	}
	return all
}

// Writes, flushes or the power may fail at any point: the old metadata still leads to its data, and
// so does the new if the kernel would accept it.
func TestShrinkFailures(t *testing.T) {
	oldMeta, oldData := sparsePool(t)
	want := contentOf(t, oldMeta, oldData)
	if len(want) != 40 {
		t.Fatalf("%d thin blocks", len(want))
	}
	pool, err := metadata.Open(oldMeta, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var used shrink.Usage
	if err := dump.Run(t.Context(), pool, dump.Options{}, &used); err != nil {
		t.Fatal(err)
	}
	plan, err := used.Plan(30)
	if err != nil {
		t.Fatal(err)
	}
	b := write.New(write.Options{})
	if err := dump.Run(t.Context(), pool, dump.Options{}, plan.Rewrite(b)); err != nil {
		t.Fatal(err)
	}
	command := Shrink{Input: "old", Output: "new", Data: "data"}
	env := anEnv(t)
	run := func(dataOps, outOps int) (data, out *blocktest.Mem, err error) {
		data, out = blocktest.NewMemFrom(slices.Clone(oldData)), blocktest.NewMem(64*block.Size)
		data.FailWritesAfter(dataOps)
		out.FailWritesAfter(outOps)
		return data, out, command.carryOut(env, plan, data, b, out)
	}
	data, out, err := run(-1, -1)
	if err != nil {
		t.Fatal(err)
	}
	ops := data.Ops() + out.Ops()
	for op := range ops + 1 {
		dataOps := min(op, data.Ops())
		data, out, err := run(dataOps, op-dataOps)
		if (err == nil) != (op == ops) || err != nil && !strings.Contains(err.Error(), "\nthe pool is unchanged: nothing in use was overwritten, and old is still its metadata") {
			t.Fatalf("op %d of %d: %v", op, ops, err)
		}
		for seed := range 20 {
			dataNow, outNow := data.Crash(seed).Contents(), out.Crash(seed)
			if got := contentOf(t, oldMeta, dataNow); !maps.Equal(got, want) {
				t.Fatalf("op %d, seed %d: the old metadata leads to other data", op, seed)
			}
			got := contentOf(t, outNow, dataNow)
			if got == nil && err == nil || got != nil && !maps.Equal(got, want) {
				t.Fatalf("op %d, seed %d: the new metadata leads to other data: %v", op, seed, got)
			}
		}
	}
}

// envKeeper is a command that keeps its environment.
type envKeeper struct {
	cli.Common
	env *cli.Env
}

func (k *envKeeper) Run(env *cli.Env) error {
	k.env = env
	return nil
}

func anEnv(t *testing.T) *cli.Env {
	var k envKeeper
	tool := cli.Tool{Name: "test", New: func() cli.Command { return &k }}
	if code, _, stderr := runTool(t, tool); code != 0 {
		t.Fatal(stderr)
	}
	return k.env
}

// Metadata, XML and JSON dumps, compressed or not, give the same result and lead to the same data
// below the new end.
func TestShrinkForms(t *testing.T) {
	meta, data := sparsePool(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(tool cli.Tool, args ...string) {
		t.Helper()
		if code, _, stderr := runTool(t, tool, args...); code != 0 {
			t.Fatalf("%s %q: exit code %d, %s", tool.Name, args, code, stderr)
		}
	}
	write("meta", meta.Contents())
	want := contentOf(t, meta, data)
	shrunk := map[string]string{}
	for _, form := range []string{"bin", "xml", "json", "xml.gz", "json.zst"} {
		in, out := path("meta"), path("new."+form)
		write("data", data)
		write("made", make([]byte, 64*block.Size))
		if form == "bin" {
			write("new.bin", make([]byte, 64*block.Size))
		} else {
			in = path("old." + form)
			run(DumpTool, "-f", strings.Split(form, ".")[0], "-o", in, path("meta"))
		}
		run(ShrinkTool, "-i", in, "-o", out, "--data", path("data"), "--nr-blocks", "25")
		if form == "bin" {
			out = path("new.bin")
		} else {
			run(RestoreTool, "-i", out, "-o", path("made"))
			out = path("made")
		}
		_, text, _ := runTool(t, DumpTool, out)
		shrunk[form] = text
		dev, err := block.Open(out, block.Options{})
		if err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile(path("data"))
		if err != nil {
			t.Fatal(err)
		}
		if got := contentOf(t, dev, now[:25*shrinkBlock]); !maps.Equal(got, want) {
			t.Errorf("%s: the new metadata leads to other data", form)
		}
		dev.Close()
		if shrunk[form] != shrunk["bin"] || !strings.Contains(text, `nr_data_blocks="25"`) || strings.Count(text, "<ref ") != 2 {
			t.Errorf("%s has become\n%.500s\nwant\n%.500s", form, text, shrunk["bin"])
		}
	}
}
