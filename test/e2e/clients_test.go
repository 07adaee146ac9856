package e2e

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Each program that calls the tools and parses their output has a test TestClient_NAME in
// client_NAME_test.go. The tests use the programs' exact command lines and equally strict parsers,
// where these are known. Results are compared with what the library reads.

// asked runs a tool like a client: it must succeed and print nothing on standard error.
func asked(t *testing.T, tool string, args ...string) string {
	t.Helper()
	return silent(t, run(t, filepath.Join(tools, tool), args...))
}

func silent(t *testing.T, r result) string {
	t.Helper()
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("exit code %d\n%s", r.code, r.stderr)
	}
	return r.out
}

// fails runs a tool that must fail and print only a message.
func fails(t *testing.T, tool string, args ...string) {
	t.Helper()
	if r := run(t, filepath.Join(tools, tool), args...); r.code == 0 || r.out != "" || r.stderr == "" {
		t.Errorf("%s %q: exit code %d, stdout %.100q, stderr %q", tool, args, r.code, r.out, r.stderr)
	}
}

// fixture writes an image created by a kernel to a file.
func fixture(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+"_tmeta")
	fixtures.Write(t, name, path)
	return path
}

// heldPool writes pool metadata with a metadata snapshot. Its two devices share a leaf and have
// more than a hundred ranges of every kind of difference.
func heldPool(t *testing.T) string {
	t.Helper()
	const ranges, leaf = 600, 60 // total, and per leaf
	f := fixtures.NewForge(t, 200, 100000)
	f.Held = true
	shared := f.Leaf(metadata.Run{Thin: 0, Data: 50000, Len: 100}, metadata.Run{Thin: 200, Data: 60000, Len: 1})
	left, right := []block.Nr{shared}, []block.Nr{shared}
	for i := range ranges / leaf {
		var a, b []metadata.Run
		for j := range leaf {
			at := i*leaf + j
			r := metadata.Run{Thin: metadata.ThinBlock(1000 + at*7), Data: metadata.DataBlock(at * 40), Len: uint64(1 + at%6/2)}
			other := r
			other.Data += 20
			switch at % 4 { // kinds are adjacent where ranges are long
			case 0:
				a, b = append(a, r), append(b, r)
			case 1:
				a, b = append(a, r), append(b, other)
			case 2:
				a = append(a, r)
			default:
				b = append(b, other)
			}
		}
		left, right = append(left, f.Leaf(a...)), append(right, f.Leaf(b...))
	}
	f.Device(1, f.Inner(left...))
	f.Device(2, f.Inner(right...))
	path := filepath.Join(t.TempDir(), "vg-pool_tmeta")
	if err := os.WriteFile(path, f.Finish().Contents(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// links creates links to the one binary for all tools, as installed, and for its older name.
func links(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	names := []string{"pdata_tools"}
	for _, e := range must(os.ReadDir(tools)) {
		names = append(names, e.Name())
	}
	for _, name := range names {
		if err := os.Symlink(filepath.Join(tools, "thin_tools"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// content is what the library reads from a pool: what clients should find.
type content struct {
	superblock metadata.Superblock
	details    map[metadata.DevID]metadata.Details
	mappings   map[metadata.DevID]blocks
}

// blocks maps thin blocks to data blocks.
type blocks map[uint64]uint64

func read(t *testing.T, path string, snapshot bool) content {
	t.Helper()
	dev := must(block.Open(path, block.Options{}))
	defer dev.Close()
	pool := must(metadata.Open(dev, metadata.Options{Snapshot: snapshot}))
	c := content{pool.Superblock, map[metadata.DevID]metadata.Details{}, map[metadata.DevID]blocks{}}
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		c.details[d.ID], c.mappings[d.ID] = d.Details, blocks{}
		for r, err := range pool.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			c.mappings[d.ID].add(uint64(r.Thin), uint64(r.Data), r.Len)
		}
	}
	if len(c.mappings) == 0 {
		t.Fatal("no device to compare with")
	}
	return c
}

// add maps length blocks. It returns false if one of them is already mapped.
func (b blocks) add(thin, data, length uint64) bool {
	for i := range length {
		if _, twice := b[thin+i]; twice {
			return false
		}
		b[thin+i] = data + i
	}
	return true
}

// stretch is a range of thin blocks of one kind, as in thin_delta.
type stretch struct {
	tag           string
	begin, length uint64
}

// delta returns the differences between two devices, found block by block.
func (c content) delta(left, right metadata.DevID) []stretch {
	a, b := c.mappings[left], c.mappings[right]
	all := maps.Clone(a)
	maps.Copy(all, b)
	var found []stretch
	for _, thin := range slices.Sorted(maps.Keys(all)) {
		x, inA := a[thin]
		y, inB := b[thin]
		tag := "different"
		switch {
		case !inB:
			tag = "left_only"
		case !inA:
			tag = "right_only"
		case x == y:
			tag = "same"
		}
		if last := len(found) - 1; last >= 0 && found[last].tag == tag && found[last].begin+found[last].length == thin {
			found[last].length++
		} else {
			found = append(found, stretch{tag, thin, 1})
		}
	}
	return found
}

// onlyTags returns the ranges with one of the tags.
func onlyTags(found []stretch, tags ...string) []stretch {
	return slices.DeleteFunc(slices.Clone(found), func(s stretch) bool { return !slices.Contains(tags, s.tag) })
}

// sameStretches compares the differences a client found with the real ones.
func sameStretches(t *testing.T, got, want []stretch) {
	t.Helper()
	if !slices.Equal(got, want) || len(want) < 100 {
		t.Errorf("%d ranges are found, want %d", len(got), len(want))
	}
}

// sameBlocks compares the mappings a client found with the real ones.
func sameBlocks(t *testing.T, got, want blocks) {
	t.Helper()
	if !maps.Equal(got, want) || len(want) == 0 {
		t.Errorf("%d blocks are found, want %d, or they are mapped elsewhere", len(got), len(want))
	}
}

// tree is an element as XML libraries present it.
type tree struct {
	tag      string
	attr     map[string]string
	children []*tree
}

func parseTree(text string) (*tree, error) {
	decoder := xml.NewDecoder(strings.NewReader(text))
	top := new(tree)
	for path := []*tree{top}; ; {
		token, err := decoder.Token()
		if err == io.EOF && len(top.children) == 1 {
			return top.children[0], nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &tree{token.Name.Local, map[string]string{}, nil}
			for _, a := range token.Attr {
				e.attr[a.Name.Local] = a.Value
			}
			parent := path[len(path)-1]
			parent.children = append(parent.children, e)
			path = append(path, e)
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
}

// number returns an attribute that must be a number.
func (e *tree) number(t *testing.T, name string) uint64 {
	t.Helper()
	var n uint64
	if _, err := fmt.Sscanf(e.attr[name], "%d", &n); err != nil || fmt.Sprint(n) != e.attr[name] {
		t.Fatalf("%s of %s is %q", name, e.tag, e.attr[name])
	}
	return n
}

// stretch returns the range of an element.
func (e *tree) stretch(t *testing.T) stretch {
	t.Helper()
	return stretch{e.tag, e.number(t, "begin"), e.number(t, "length")}
}

// child returns the first child with a tag.
func (e *tree) child(t *testing.T, tag string) *tree {
	t.Helper()
	i := slices.IndexFunc(e.children, func(c *tree) bool { return c.tag == tag })
	if i < 0 {
		t.Fatalf("%s has no %s", e.tag, tag)
	}
	return e.children[i]
}

// mapped returns the mappings below an element. It fails for other children.
func (e *tree) mapped(t *testing.T) blocks {
	t.Helper()
	found := blocks{}
	for _, m := range e.children {
		begin, data, length := "origin_block", "data_block", uint64(1)
		switch m.tag {
		case "range_mapping":
			begin, data, length = "origin_begin", "data_begin", m.number(t, "length")
		case "single_mapping":
		default:
			t.Fatalf("%s in %s", m.tag, e.tag)
		}
		if !found.add(m.number(t, begin), m.number(t, data), length) {
			t.Fatalf("block %s is mapped twice", m.attr[begin])
		}
	}
	return found
}
