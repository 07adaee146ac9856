// Package format decodes files with the descriptions in docs/format, which are independent of the
// Go code, and compares the results with the library's.
package format

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/undo"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/packfmt"
	"thinpool/tool/check"
)

const descriptions = "../../docs/format"

// needKaitai skips the test if the compiler for the descriptions is missing.
func needKaitai(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	const modules = "require('kaitai-struct-compiler'); require('kaitai-struct/KaitaiStream'); require('yaml')"
	if err := exec.Command("node", "-e", modules).Run(); err != nil {
		t.Skip("NODE_PATH has no kaitai-struct-compiler, kaitai-struct and yaml")
	}
}

// described decodes each content with a description, and returns the results by name.
func described(t *testing.T, kind string, contents map[string][]byte) map[string]string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"read.js", descriptions, kind}
	for name, content := range contents {
		path := filepath.Join(dir, name)
		args = append(args, path)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("node", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	texts := map[string]string{}
	for name := range contents {
		text, err := os.ReadFile(filepath.Join(dir, name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

// compare reports the first line that differs.
func compare(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("line %d: the description says %q, the library %q", i+1, g[i], w[i])
		}
	}
	if len(g) != len(w) {
		t.Errorf("the description says %d lines, the library %d", len(g), len(w))
	}
}

// Everything in metadata created by the kernel.
func TestMetadata(t *testing.T) {
	t.Parallel()
	needKaitai(t)
	contents := map[string][]byte{}
	for _, name := range fixtures.Names() {
		contents[name] = fixtures.Mem(t, name).Contents()
	}
	for name, text := range described(t, "metadata", contents) {
		t.Run(name, func(t *testing.T) { compare(t, text, metadataLines(t, blocktest.NewMemFrom(contents[name]))) })
	}
}

func metadataLines(t *testing.T, dev block.Device) string {
	t.Helper()
	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var s strings.Builder
	sb := pool.Superblock
	fmt.Fprintln(&s, "superblock", sb.Flags, sb.Version, sb.Time, sb.TransactionID, sb.HeldRoot, sb.DataBlockSize, sb.MetadataNrBlocks)
	var devices []metadata.Device
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, d)
		fmt.Fprintln(&s, "details", d.ID, d.MappedBlocks, d.TransactionID, d.CreationTime, d.SnapshottedTime)
	}
	for _, d := range devices {
		for r, err := range pool.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range r.Len {
				fmt.Fprintln(&s, "mapping", d.ID, uint64(r.Thin)+i, uint64(r.Data)+i, r.Time)
			}
		}
	}
	countLines(t, &s, "data", sb.DataSpaceMap, func(ctx context.Context) (*spacemap.Map, error) {
		return spacemap.LoadData(ctx, pool.Reader(), pool.Limit(), sb.DataSpaceMap)
	})
	countLines(t, &s, "metadata", sb.MetadataSpaceMap, func(ctx context.Context) (*spacemap.Map, error) {
		return spacemap.LoadMetadata(ctx, pool.Reader(), pool.Limit(), sb.MetadataSpaceMap)
	})
	return s.String()
}

func countLines(t *testing.T, s *strings.Builder, name string, root metadata.SpaceMapRoot, load func(context.Context) (*spacemap.Map, error)) {
	t.Helper()
	m, err := load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counts, err := m.Counts(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(s, "space map", name, root.NrBlocks, root.NrAllocated)
	for b := range root.NrBlocks {
		if n := counts.Get(b); n > 0 {
			fmt.Fprintln(s, "count", name, b, n)
		}
	}
}

// Every block of a pack.
func TestPack(t *testing.T) {
	t.Parallel()
	needKaitai(t)
	devices, packs := map[string]*blocktest.Mem{}, map[string][]byte{}
	for _, name := range fixtures.Names() {
		dev := fixtures.Mem(t, name)
		var pack bytes.Buffer
		if _, err := packfmt.Pack(t.Context(), dev, &pack, packfmt.Options{}); err != nil {
			t.Fatal(err)
		}
		devices[name], packs[name] = dev, pack.Bytes()
	}
	for name, text := range described(t, "pack", packs) {
		t.Run(name, func(t *testing.T) { verifyPack(t, text, devices[name]) })
	}
}

func verifyPack(t *testing.T, text string, dev *blocktest.Mem) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if want := fmt.Sprint("pack ", block.Blocks(dev)); lines[0] != want {
		t.Errorf("the pack begins with %q, want %q", lines[0], want)
	}
	content := dev.Contents()
	for _, line := range lines[1:] {
		var nr block.Nr
		if _, err := fmt.Sscanf(line, "block %d", &nr); err != nil {
			t.Fatal(err)
		}
		if want := blockLine(nr, blockAt(content, nr)); line != want {
			t.Fatalf("the description says %q, the device has %q", line, want)
		}
	}
	// Blocks that are not in the pack are not valid metadata.
	if got, want := len(lines)-1, valid(content); got != want {
		t.Errorf("%d blocks in the pack, %d valid ones on the device", got, want)
	}
}

// valid counts the blocks that are metadata of any kind.
func valid(content []byte) (n int) {
	for nr := range block.Nr(len(content) / block.Size) {
		switch block.Salt(blockAt(content, nr)) {
		case 160774, 121107, 240779, 160478:
			n++
		}
	}
	return n
}

func blockAt(content []byte, nr block.Nr) *block.Data {
	return (*block.Data)(content[int(nr)*block.Size:])
}

func blockLine(nr block.Nr, b *block.Data) string {
	return fmt.Sprintf("block %d %x", nr, sha256.Sum256(b[:]))
}

// The header and every block of undo files of both versions.
func TestUndo(t *testing.T) {
	t.Parallel()
	needKaitai(t)
	dev := fixtures.Leaky(t)
	_, fix, err := check.PlanFix(t.Context(), dev, check.Options{}, func(check.Fault) {})
	if err != nil {
		t.Fatal(err)
	}
	block0, content := fix.Block0(), dev.Contents()
	const all = 40
	for name, c := range map[string]struct {
		version int
		change  undo.Change
		blocks  []block.Nr // in order
	}{
		"in place": {
			1,
			undo.Change{Released: fix.Released(), Written: fix.Blocks(), Block0: block0},
			slices.Concat(fix.Released(), []block.Nr{0}, fix.Blocks()),
		},
		"rewritten": {2, undo.Change{All: all, Block0: block0}, slices.Collect(numbers(all))},
	} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			if err := undo.Write(t.Context(), &file, dev, c.change); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("undo %d %d %d %x\n", c.version, dev.Size(), slices.Index(c.blocks, 0), sha256.Sum256(block0[:]))
			for _, nr := range c.blocks {
				want += blockLine(nr, blockAt(content, nr)) + "\n"
			}
			compare(t, described(t, "undo", map[string][]byte{"undo": file.Bytes()})["undo"], want)
		})
	}
}

func numbers(n block.Nr) iter.Seq[block.Nr] {
	return func(yield func(block.Nr) bool) {
		for nr := range n {
			if !yield(nr) {
				return
			}
		}
	}
}
