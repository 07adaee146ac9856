package e2e

import (
	"fmt"
	"testing"

	"thinpool/metadata"
)

// mpalmer/lvmsync (lib/lvm/thin_snapshot.rb) passes the block of the metadata snapshot as a
// separate word. It needs a dev_id in every element of the superblock, so with shared subtrees it
// needs THIN_DUMP_STYLE=0.9.
func TestClient_lvmsync(t *testing.T) {
	path := heldPool(t)
	held := read(t, path, true).superblock.Block
	t.Setenv("THIN_DUMP_STYLE", "0.9")
	root := must(parseTree(asked(t, "thin_dump", "--format", "xml", path, "--metadata-snap", fmt.Sprint(uint64(held)))))
	want := read(t, path, true)
	for _, device := range root.children {
		sameBlocks(t, device.mapped(t), want.mappings[metadata.DevID(device.number(t, "dev_id"))])
	}
	if len(root.children) != len(want.mappings) {
		t.Errorf("%d devices, want %d", len(root.children), len(want.mappings))
	}
	fails(t, "thin_dump", "--format", "xml", path, "--metadata-snap", fmt.Sprint(uint64(held)+1))
}
