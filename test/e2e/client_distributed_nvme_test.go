package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"thinpool/metadata"
)

// distributed-nvme/distributed-nvme (agent/cnagent/thinbm.go) reads dumps with and without def and
// ref. The lengths of a device must add up to mapped_blocks, and a missing device must be an error.
func TestClient_distributed_nvme(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	want := read(t, path, true)
	private := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(private, "dump.xml")
	if out := asked(t, "thin_dump", "--metadata-snap", path, "-o", file); out != "" {
		t.Errorf("with -o: stdout %q", out)
	}
	for _, out := range []string{
		asked(t, "thin_dump", "--metadata-snap", path),
		string(must(os.ReadFile(file))),
		asked(t, "thin_dump", "--metadata-snap", "--style", "0.9", path),
	} {
		root := must(parseTree(out))
		defs, devices := map[string]*tree{}, 0
		for _, e := range root.children {
			if e.tag == "def" {
				defs[e.attr["name"]] = e
				continue
			}
			devices++
			flat := &tree{tag: e.tag, attr: e.attr}
			for _, m := range e.children {
				if m.tag == "ref" {
					flat.children = append(flat.children, defs[m.attr["name"]].children...)
				} else {
					flat.children = append(flat.children, m)
				}
			}
			found := flat.mapped(t)
			if uint64(len(found)) != e.number(t, "mapped_blocks") {
				t.Errorf("%d blocks are mapped, mapped_blocks is %s", len(found), e.attr["mapped_blocks"])
			}
			sameBlocks(t, found, want.mappings[metadata.DevID(e.number(t, "dev_id"))])
		}
		if devices != len(want.mappings) {
			t.Errorf("%d devices, want %d", devices, len(want.mappings))
		}
	}
	fails(t, "thin_dump", "--metadata-snap", "--dev-id", "99", path)
}
