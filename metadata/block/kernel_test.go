package block_test

import (
	"errors"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

// Blocks written by a kernel verify, but only as their own kind and in their own place.
func TestVerifyKernelBlocks(t *testing.T) {
	kinds := []block.Kind{block.Superblock, block.Node, block.Bitmap, block.Index}
	dev := fixtures.Mem(t, "transactions")
	var b block.Data
	seen := map[block.Kind]int{}
	for nr := range block.Blocks(dev) {
		if err := block.Read(dev, nr, &b); err != nil {
			t.Fatal(err)
		}
		is := block.KindOf(&b)
		if seen[is]++; is == block.UnknownKind {
			continue
		}
		for _, kind := range kinds {
			if err := block.Verify(nr, &b, kind); (err == nil) != (kind == is) {
				t.Errorf("block %d is a %v; as a %v: %v", nr, is, kind, err)
			}
		}
		if err := block.Verify(nr+1, &b, is); !errors.Is(err, block.ErrCorrupt) || !strings.Contains(err.Error(), "blocknr is") {
			t.Errorf("block %d, moved: %v", nr, err)
		}
	}
	for _, kind := range kinds {
		if seen[kind] == 0 {
			t.Errorf("the image has no %v", kind)
		}
	}
}
