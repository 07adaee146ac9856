package btree

import (
	"thinpool/metadata/block"
)

// An Allocator allocates blocks of a device and stores their content.
type Allocator interface {
	// Alloc returns an unused block.
	Alloc() (block.Nr, error)
	// Write stores the content of a block that Alloc returned.
	Write(block.Nr, *block.Data) error
}

// FillSizes yields the number of entries for each node of a level with n entries and nodes of
// capacity most. The nodes are full, except the last one or two, which are at least half full
// unless n itself is less. FillSizes yields a single 0 for n = 0.
func FillSizes(n, most int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for ; n >= 2*most; n -= most {
			if !yield(most) {
				return
			}
		}
		if n > most {
			if !yield(n - n/2) {
				return
			}
			n /= 2
		}
		yield(n)
	}
}

// NodesFor returns the number of nodes [FillSizes] yields.
func NodesFor(n, most int) int { return max(1, (n+most-1)/most) }

// A Child is an entry of an internal node: a lower bound and the block below it.
type Child struct {
	Key   uint64
	Block block.Nr
}

// BuildAbove writes the internal levels above one level of nodes and returns the root. If there is
// only one node, that is the root.
func BuildAbove(a Allocator, level []Child) (block.Nr, error) {
	var b block.Data
	for len(level) > 1 {
		var above []Child
		for size := range FillSizes(len(level), MaxEntries(PointerSize)) {
			d := NewNodeBuilder(&b, false, PointerSize)
			for _, c := range level[:size] {
				d.AddUint64(c.Key, uint64(c.Block))
			}
			nr, err := writeNode(a, &d)
			if err != nil {
				return 0, err
			}
			above = append(above, Child{level[0].Key, nr})
			level = level[size:]
		}
		level = above
	}
	return level[0].Block, nil
}

// NodesAbove returns how many blocks [BuildAbove] writes above a level of n nodes.
func NodesAbove(n int) int {
	sum := 0
	for n > 1 {
		n = NodesFor(n, MaxEntries(PointerSize))
		sum += n
	}
	return sum
}

// Build writes a tree of n entries and returns its root. It calls put for each entry: put writes
// value i into the given slice and returns key i. Keys must ascend.
func Build(a Allocator, valueSize, n int, put func(i int, value []byte) (key uint64)) (block.Nr, error) {
	var b block.Data
	var value [block.Size]byte
	leaves := make([]Child, 0, NodesFor(n, MaxEntries(valueSize)))
	i := 0
	for size := range FillSizes(n, MaxEntries(valueSize)) {
		d := NewNodeBuilder(&b, true, valueSize)
		first := uint64(0)
		for j := range size {
			v := value[:valueSize]
			key := put(i, v)
			copy(d.Add(key), v)
			if j == 0 {
				first = key
			}
			i++
		}
		nr, err := writeNode(a, &d)
		if err != nil {
			return 0, err
		}
		leaves = append(leaves, Child{first, nr})
	}
	return BuildAbove(a, leaves)
}

// NodesInTree returns how many blocks [Build] writes for n entries.
func NodesInTree(n, valueSize int) int {
	leaves := NodesFor(n, MaxEntries(valueSize))
	return leaves + NodesAbove(leaves)
}

func writeNode(a Allocator, d *NodeBuilder) (block.Nr, error) {
	nr, err := a.Alloc()
	if err != nil {
		return 0, err
	}
	d.Seal(nr)
	return nr, a.Write(nr, d.b)
}
