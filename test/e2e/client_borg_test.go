package e2e

import (
	"fmt"
	"testing"

	"thinpool/metadata"
)

// borgbackup/borg (scripts/lvm-thin-map.py) streams a dump of one device, or a difference. It
// requires ranges in order and without overlap, and does not know the element range.
func TestClient_borg(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	want := read(t, path, true)
	for id, mappings := range want.mappings {
		root := must(parseTree(asked(t, "thin_dump", "-m", "--dev-id", fmt.Sprint(id), path)))
		if len(root.children) != 1 {
			t.Fatalf("device %d: %d elements in the superblock, want the device", id, len(root.children))
		}
		device := root.child(t, "device")
		if got := metadata.DevID(device.number(t, "dev_id")); got != id {
			t.Errorf("device %d, want %d", got, id)
		}
		ascending(t, device.children, "origin_begin", "origin_block")
		sameBlocks(t, device.mapped(t), mappings)
	}
	root := must(parseTree(asked(t, "thin_delta", "-m", "--snap1", "1", "--snap2", "2", path)))
	diff := root.child(t, "diff")
	ascending(t, diff.children, "begin")
	var found []stretch
	for _, e := range diff.children {
		if len(e.children) > 0 {
			t.Fatalf("%s has elements in it", e.tag)
		}
		found = append(found, e.stretch(t))
	}
	sameStretches(t, found, want.delta(1, 2))
	// Ranges beyond the end of the device are fatal to it, so they can be excluded.
	const blocks = 70001
	root = must(parseTree(asked(t, "thin_delta", "--size", fmt.Sprint(blocks*128*512), "--thin1", "1", "--thin2", "2", path)))
	all := root.child(t, "diff").children
	if last := all[len(all)-1].stretch(t); last.begin+last.length > blocks {
		t.Errorf("%v lies beyond the end", last)
	}
}

// ascending checks that ranges are in order and do not overlap. begins lists possible names of the
// start attribute.
func ascending(t *testing.T, ranges []*tree, begins ...string) {
	t.Helper()
	end := uint64(0)
	for _, e := range ranges {
		length := uint64(1)
		if e.attr["length"] != "" {
			length = e.number(t, "length")
		}
		for _, name := range begins {
			if e.attr[name] == "" {
				continue
			}
			begin := e.number(t, name)
			if begin < end || length == 0 {
				t.Fatalf("%+v begins before %d", e, end)
			}
			end = begin + length
		}
	}
}
