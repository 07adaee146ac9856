package command

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// An exportPool is a pool in files: metadata, data and an external origin.
type exportPool struct {
	t                          *testing.T
	dir, meta, data, origin    string
	dataContent, originContent []byte
	leaves                     []block.Nr
}

// newExportPool creates a pool with three devices: device 1, its modified snapshot 2, and the older
// device 3 that shares some blocks.
func newExportPool(t *testing.T) *exportPool {
	const blocks = 300
	p := &exportPool{t: t, dir: t.TempDir()}
	f := fixtures.NewForge(t, 128, blocks)
	f.Superblock.TransactionID = 5
	low := []block.Nr{
		f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 30}, metadata.Run{Thin: 30, Data: 0, Len: 4}),
		f.Leaf(metadata.Run{Thin: 50, Data: 100, Len: 5}, metadata.Run{Thin: 55, Data: 105, Len: 3, Time: 1}, metadata.Run{Thin: 60, Data: 90, Len: 2}),
		f.Leaf(metadata.Run{Thin: 70, Data: 120, Len: 20}),
	}
	changed := f.Leaf(metadata.Run{Thin: 48, Data: 200, Len: 4}, metadata.Run{Thin: 52, Data: 102, Len: 2}, metadata.Run{Thin: 61, Data: 210, Len: 3})
	f.Device(1, f.Inner(low...))
	f.Device(2, f.Inner(low[0], changed, low[2]))
	f.Device(3, f.Inner(low[0], low[1]))
	p.leaves = append(low, changed)
	p.meta = p.file("meta", f.Finish().Contents())
	p.dataContent, p.originContent = noise(1, blocks*exportBlock), noise(2, 58*exportBlock+1024)
	p.data, p.origin = p.file("data", p.dataContent), p.file("origin", p.originContent)
	return p
}

// newSnapshotPool creates a pool with device 1 and its snapshot 2. Blocks 60 and 61 of device 1
// were written later.
func newSnapshotPool(t *testing.T) *exportPool {
	const blocks = 100
	p := &exportPool{t: t, dir: t.TempDir()}
	f := fixtures.NewForge(t, 128, blocks)
	f.Superblock.Time = 1
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 30}, metadata.Run{Thin: 30, Data: 60, Len: 2, Time: 1}))
	f.Device(2, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 32}))
	p.meta = p.file("meta", f.Finish().Contents())
	p.dataContent = noise(3, blocks*exportBlock)
	p.data = p.file("data", p.dataContent)
	return p
}

func noise(seed uint64, n int) []byte {
	rnd, p := rand.New(rand.NewPCG(seed, 9)), make([]byte, 0, n+8)
	for len(p) < n {
		p = binary.LittleEndian.AppendUint64(p, rnd.Uint64())
	}
	return p[:n]
}

func (p *exportPool) path(name string) string { return filepath.Join(p.dir, name) }

func (p *exportPool) file(name string, content []byte) string {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), content, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return p.path(name)
}

func (p *exportPool) read(path string) []byte {
	p.t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	return content
}

// want returns the content of a device, built mapping by mapping.
func (p *exportPool) want(id metadata.DevID, size int, origin bool) []byte {
	p.t.Helper()
	pool, err := metadata.Open(blocktest.NewMemFrom(p.read(p.meta)), metadata.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	d, err := pool.Device(id)
	if err != nil {
		p.t.Fatal(err)
	}
	content := make([]byte, size+exportBlock)
	if origin {
		copy(content, p.originContent)
	}
	for r, err := range pool.Runs(p.t.Context(), d) {
		if err != nil {
			p.t.Fatal(err)
		}
		for i := range int(r.Len) {
			if at := (int(r.Thin) + i) * exportBlock; at < size {
				copy(content[at:], p.dataContent[(int(r.Data)+i)*exportBlock:][:exportBlock])
			}
		}
	}
	return content[:size]
}

// run exports and checks the exit code. If an option is repeated, the last one counts.
func (p *exportPool) run(code int, args ...string) (stdout, stderr string) {
	p.t.Helper()
	args = append([]string{"--metadata", p.meta, "--data", p.data}, args...)
	for _, option := range []string{"--data", "--size", "--dev-id"} {
		for i := slices.Index(args, option); i >= 0 && slices.Contains(args[i+1:], option); i = slices.Index(args, option) {
			args = slices.Delete(args, i, i+2)
		}
	}
	got, stdout, stderr := runTool(p.t, ExportTool, args...)
	if got != code {
		p.t.Fatalf("%q: exit code %d, want %d; stderr %s", args, got, code, stderr)
	}
	return stdout, stderr
}

func zero(p []byte) bool { return len(bytes.TrimLeft(p, "\x00")) == 0 }

func (p *exportPool) root(id metadata.DevID) block.Nr {
	p.t.Helper()
	pool, err := metadata.Open(blocktest.NewMemFrom(p.read(p.meta)), metadata.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	tree, err := pool.MappingTree(id)
	if err != nil {
		p.t.Fatal(err)
	}
	return tree.Root
}

// An exportedRange is a line of a list of ranges.
type exportedRange struct {
	Type          string
	Begin, Length int64
}

// exportedSums is the last line.
type exportedSums struct {
	Type                      string
	Data, Zero, Lost, Guessed int64
}

// ranges parses a list of ranges and checks that it is complete.
func (p *exportPool) ranges(text []byte) (all []exportedRange) {
	p.t.Helper()
	var end exportedSums
	sums := map[string]int64{}
	for line := range bytes.Lines(text) {
		if end.Type != "" {
			p.t.Fatalf("after the end: %s", line)
		}
		var r exportedRange
		if err := json.Unmarshal(line, &r); err != nil {
			p.t.Fatal(err)
		}
		if r.Type == "summary" {
			if err := json.Unmarshal(line, &end); err != nil {
				p.t.Fatal(err)
			}
			continue
		}
		all = append(all, r)
		sums[r.Type] += r.Length
	}
	if end.Type != "summary" || end.Data != sums["data"] || end.Zero != sums["zero"] || end.Lost != sums["lost"] || end.Guessed != sums["guessed"] {
		p.t.Errorf("the end is %+v, the sums %v", end, sums)
	}
	return all
}

func number64(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
