package check_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

var le = binary.LittleEndian

// Offsets that the tests modify, from the kernel's structures.
const (
	nodeFlags, nodeBlocknr, nodeEntries, nodeMax, nodeValueSize, nodePadding, nodeKeys = 4, 8, 16, 20, 24, 28, 32

	mappingValues  = nodeKeys + 8*252
	detailsValues  = nodeKeys + 8*126
	indexValues    = nodeKeys + 8*168
	overflowValues = nodeKeys + 8*336
	indexBlock     = 16 // first entry of the metadata space map's index block

	flags, magic, version, poolTime, heldRoot  = 4, 32, 40, 44, 56
	dataMap, metadataMap                       = 64, 192 // nr_blocks, nr_allocated, bitmap_root, ref_count_root
	mappingRoot, detailsRoot                   = 320, 328
	dataBlockSize, metadataBlockSize, nrBlocks = 336, 340, 344
	compat, compatRO, incompat                 = 352, 356, 360
)

// A lab is an image to damage, and where its parts are. Methods that damage it return the block
// where the fault should be found.
type lab struct {
	testing.TB
	*blocktest.Mem
	sb      metadata.Superblock
	pool    *metadata.Pool
	devices []metadata.Device
}

func newLab(t testing.TB, image []byte) *lab {
	t.Helper()
	l := &lab{TB: t, Mem: blocktest.NewMemFrom(slices.Clone(image))}
	pool, err := metadata.Open(l.Mem, metadata.Options{Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.pool, l.sb = pool, pool.Superblock
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		l.devices = append(l.devices, d)
	}
	return l
}

func labOf(t testing.TB, name string) *lab {
	t.Helper()
	image, err := fixtures.Image(name)
	if err != nil {
		t.Fatal(err)
	}
	return newLab(t, image)
}

func (l *lab) edit(nr block.Nr, change func(b *block.Data)) block.Nr {
	fixtures.Edit(l.TB, l.Mem, nr, change)
	return nr
}

func (l *lab) put32(nr block.Nr, at int, v uint32) block.Nr {
	return l.edit(nr, func(b *block.Data) { le.PutUint32(b[at:], v) })
}

func (l *lab) put64(nr block.Nr, at int, v uint64) block.Nr {
	return l.edit(nr, func(b *block.Data) { le.PutUint64(b[at:], v) })
}

// scratch changes a byte without updating the checksum.
func (l *lab) scratch(nr block.Nr) block.Nr {
	b := l.read(nr)
	b[100] ^= 0xff
	return l.write(nr, b)
}

func (l *lab) zero(nr block.Nr) block.Nr { return l.write(nr, new(block.Data)) }

func (l *lab) copyBlock(from, to block.Nr) block.Nr { return l.write(to, l.read(from)) }

// exchange swaps two blocks.
func (l *lab) exchange(a, b block.Nr) block.Nr {
	was := l.read(a)
	l.copyBlock(b, a)
	l.write(b, was)
	return a
}

func (l *lab) read(nr block.Nr) *block.Data {
	b := new(block.Data)
	if err := block.Read(l.Mem, nr, b); err != nil {
		l.TB.Fatal(err)
	}
	return b
}

func (l *lab) write(nr block.Nr, b *block.Data) block.Nr {
	if err := block.Write(l.Mem, nr, b); err != nil {
		l.TB.Fatal(err)
	}
	return nr
}

// parts returns the leaves of device d.
func (l *lab) parts(d int) []btree.LeafRange {
	m, err := l.pool.Mappings(l.TB.Context(), l.devices[d])
	if err != nil {
		l.TB.Fatal(err)
	}
	return slices.Collect(m.Forest.LeafRanges(l.devices[d].Root))
}

// leaf returns leaf i of the mappings of device d.
func (l *lab) leaf(d, i int) block.Nr { return l.parts(d)[i].Block }

// bitmap returns the bitmap with the count of data block 0 or metadata block 0.
func (l *lab) bitmap(data bool) block.Nr {
	if data {
		root := l.read(l.sb.DataSpaceMap.BitmapRoot)
		if root[nodeFlags] != 2 {
			l.TB.Fatal("the index tree is more than a leaf")
		}
		return spacemap.DecodeEntry(root[indexValues:]).Block
	}
	return spacemap.DecodeEntry(l.read(l.sb.MetadataSpaceMap.BitmapRoot)[indexBlock:]).Block
}

// count sets the count of a data block or metadata block below 16320.
func (l *lab) count(data bool, nr int, count uint32) block.Nr {
	return l.edit(l.bitmap(data), func(b *block.Data) {
		pair := byte(count&1<<1 | count>>1)
		b[16+nr/4] = b[16+nr/4]&^(3<<(2*(nr%4))) | pair<<(2*(nr%4))
	})
}

// capacity changes the capacity of a leaf and moves its values accordingly.
func (l *lab) capacity(leaf block.Nr, valueSize, capacity int) block.Nr {
	return l.edit(leaf, func(b *block.Data) {
		from, to := nodeKeys+8*btree.MaxEntries(valueSize), nodeKeys+8*capacity
		values := slices.Clone(b[from : from+valueSize*capacity])
		le.PutUint32(b[nodeMax:], uint32(capacity))
		le.PutUint32(b[nodeEntries:], min(uint32(capacity), le.Uint32(b[nodeEntries:])))
		copy(b[to:], values)
	})
}

// rename gives device i another id in both trees.
func (l *lab) rename(i int, id uint64) block.Nr {
	l.put64(l.sb.MappingRoot, nodeKeys+8*i, id)
	return l.put64(l.sb.DetailsRoot, nodeKeys+8*i, id)
}

// addTime raises the time of the first mapping in a leaf.
func (l *lab) addTime(leaf block.Nr, by uint64) block.Nr {
	return l.edit(leaf, func(b *block.Data) { le.PutUint64(b[mappingValues:], le.Uint64(b[mappingValues:])+by) })
}

// repeat makes the second mapping of a leaf point to the same block as the first.
func (l *lab) repeat(leaf block.Nr) block.Nr {
	return l.edit(leaf, func(b *block.Data) { copy(b[mappingValues+8:], b[mappingValues:mappingValues+8]) })
}

// mapped returns a data block below 16320 that is mapped once.
func (l *lab) mapped() int {
	for _, part := range l.parts(0) {
		b := l.read(part.Block)
		for i := range int(le.Uint32(b[nodeEntries:])) {
			if data, _ := metadata.UnpackMapping(le.Uint64(b[mappingValues+8*i:])); data < spacemap.PerBitmap {
				return int(data)
			}
		}
	}
	l.TB.Fatal("no such block")
	return 0
}

// overflow appends an entry to the empty overflow tree of a space map.
func (l *lab) overflow(root block.Nr, nr uint64, count uint32) block.Nr {
	return l.edit(root, func(b *block.Data) {
		if n := le.Uint32(b[nodeEntries:]); n > 0 {
			l.TB.Fatalf("the overflow tree has %d entries, want none", n)
		}
		le.PutUint64(b[nodeKeys:], nr)
		le.PutUint32(b[overflowValues:], count)
		le.PutUint32(b[nodeEntries:], 1)
	})
}

// separator moves the lower bound of child i of an internal node.
func (l *lab) separator(node block.Nr, i int, by uint64) block.Nr {
	l.edit(node, func(b *block.Data) { le.PutUint64(b[nodeKeys+8*i:], le.Uint64(b[nodeKeys+8*i:])+by) })
	return block.Nr(le.Uint64(l.read(node)[mappingValues+8*i:]))
}

// root returns the root of the tree of device i.
func (l *lab) root(i int) block.Nr { return l.devices[i].Root }
