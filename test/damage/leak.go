package damage

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

func leakCases(im *Image) int {
	leaves, _ := im.leaves()
	return min(most, len(leaves))
}

// leakAndStale leaks data blocks and creates an unused block with a leaf that maps them, otherwise
// like a leaf of a device. Then it zeroes the device's leaf.
func (im *Image) leakAndStale(_ int, rnd *rand.Rand) (*Case, error) {
	leaves, reached := im.leaves()
	leaf := leaves[rnd.IntN(len(leaves))]
	content := slices.Clone(im.Content)
	leaked := im.leak(content, min(1+rnd.IntN(12), len(leaf.keys)), rnd)
	stale := im.unused(rnd)
	if len(leaked) == 0 || stale == 0 || reached[leaf.nr] > 1 {
		return nil, nil
	}
	b := *im.original(leaf.nr)
	first, room := rnd.IntN(len(leaf.keys)-len(leaked)+1), int(le.Uint32(b[20:]))
	if rnd.IntN(2) == 0 { // it maps only those
		for i := range leaked {
			copy(b[32+8*i:][:8], b[32+8*(first+i):])
			copy(b[32+8*(room+i):][:8], b[32+8*(room+first+i):])
		}
		first = 0
		le.PutUint32(b[16:], uint32(len(leaked)))
	}
	for i, data := range leaked {
		at := 32 + 8*(room+first+i)
		_, time := metadata.UnpackMapping(le.Uint64(b[at:]))
		le.PutUint64(b[at:], metadata.PackMapping(metadata.DataBlock(data), time))
	}
	block.Seal(stale, &b, block.Node)
	copy(content[stale*block.Size:], b[:])
	now, err := NewImage(im.Name, content)
	if err != nil {
		return nil, err
	}
	now.past = im.past
	c := now.newCase(kindLeakStale)
	c.hurt(kinds[0], leaf.nr, rnd)
	c.What += fmt.Sprintf("; block %d has an old leaf with %d other mappings, to data blocks %v, which are leaked", stale, len(leaked), leaked)
	return c, nil
}

// unused returns an unreachable block; 0 if there is none.
func (im *Image) unused(rnd *rand.Rand) block.Nr {
	for range 100 {
		if nr := 1 + block.Nr(rnd.IntN(int(im.Used[len(im.Used)-1])+8)); im.Roles[nr] == NoRole && nr < im.blocks() && uint64(nr) < im.Truth.SB.MetadataSpaceMap.NrBlocks {
			return nr
		}
	}
	return 0
}

// leak marks n free data blocks in content as used and returns them. It only supports data space
// maps with a single index leaf.
func (im *Image) leak(content []byte, n int, rnd *rand.Rand) []uint64 {
	sb := &im.Truth.SB
	indexNr := sb.DataSpaceMap.BitmapRoot
	index := (*block.Data)(content[indexNr*block.Size:])
	tree, err := parse(indexNr, index, indexSize)
	if err != nil || !tree.leaf || len(tree.keys) == 0 {
		return nil
	}
	which := 0 // where the kernel allocates, so leaks are likely there
	if rnd.IntN(4) == 0 {
		which = rnd.IntN(len(tree.keys))
	}
	entry := index[32+8*int(le.Uint32(index[20:]))+indexSize*which:]
	nr := block.Nr(le.Uint64(entry))
	b := (*block.Data)(content[nr*block.Size:])
	first := uint64(which) * spacemap.PerBitmap
	var leaked []uint64
	end := min(spacemap.PerBitmap, sb.DataSpaceMap.NrBlocks-first)
	for e := rnd.Uint64N(min(end, 2*sb.DataSpaceMap.NrAllocated+1)); e < end; e++ {
		if at, shift := 16+e/4, 2*(e%4); b[at]>>shift&3 == 0 && len(leaked) < n {
			b[at] |= 2 << shift // count of 1
			leaked = append(leaked, first+e)
			if uint64(le.Uint32(entry[12:])) == e {
				le.PutUint32(entry[12:], uint32(e+1))
			}
		}
	}
	le.PutUint32(entry[8:], le.Uint32(entry[8:])-uint32(len(leaked)))
	super := (*block.Data)(content)
	const offAllocated = 64 + 8
	le.PutUint64(super[offAllocated:], le.Uint64(super[offAllocated:])+uint64(len(leaked)))
	block.Reseal(b, block.Bitmap)
	block.Reseal(index, block.Node)
	block.Reseal(super, block.Superblock)
	return leaked
}
