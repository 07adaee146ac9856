package report

import (
	"cmp"
	"math/bits"
	"sync/atomic"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Matrix tells how many data blocks the chosen devices have in common.
type Matrix struct {
	Devices []int      // indexes in Report.Volumes, ascending
	Common  [][]uint64 // blocks, by index in Devices; the device's own total on the diagonal
	Every   uint64     // the figures come from one of this many blocks; 1: exact
	Pairs   []Pair     // the pairs that free most together, best first
	Origins []Origin   // by index in Devices

	index map[metadata.DevID]int // in Devices
}

// A Pair is two devices, by index in Matrix.Devices, and the number of blocks that only these two
// share. Deleting both frees this many more than their exclusive blocks.
type Pair struct {
	A, B   int
	Blocks uint64
}

// An Origin is the device that another is a snapshot of, as an index in Matrix.Devices.
type Origin struct {
	Of     int  // -1: unknown
	Likely bool // not from LVM: the candidate that shares most
}

// mostPairs is the maximum number of pairs listed.
const mostPairs = 10

// choose selects the devices to compare.
func (m *Matrix) choose(volumes []Volume) {
	m.Devices = chosen(volumes, MostSharing)
	m.index = map[metadata.DevID]int{}
	for i, v := range m.Devices {
		m.index[volumes[v].ID] = i
	}
}

// owners are the devices that reach something: one bit for each device of a Matrix, and two bits
// for all others.
type owners uint64

const (
	another  owners = 1 << 62 // one device outside the matrix
	severals owners = 1 << 63 // several such devices
	listed          = another - 1
)

// join returns the owners of a node whose parents have owners o and p. These have no device in
// common unless the trees are damaged.
func (o owners) join(p owners) owners {
	both := o | p
	if o&another != 0 && p&another != 0 {
		both |= severals
	}
	return both
}

// many reports whether there is more than one device.
func (o owners) many() bool { return o&(o-1) != 0 }

// owners finds the devices that reach each leaf.
func (m *Matrix) owners(f *btree.Forest, devices []metadata.Device) []owners {
	inner, leaves := make([]owners, len(f.Inner())), make([]owners, len(f.Leaves()))
	give := func(nr block.Nr, o owners) {
		switch role, i := f.Role(nr); role {
		case btree.InnerNode:
			inner[i] = inner[i].join(o)
		case btree.LeafNode:
			leaves[i] = leaves[i].join(o)
		}
	}
	roots := make([]block.Nr, len(devices))
	for i, d := range devices {
		roots[i] = d.Root
		o := another
		if k, ok := m.index[d.ID]; ok {
			o = 1 << k
		}
		give(d.Root, o)
	}
	for _, i := range f.ParentsFirst(roots) {
		for _, child := range f.Inner()[i].Children {
			give(child, inner[i])
		}
	}
	return leaves
}

// samples are the owners of one shared data block in each range of 1<<shift blocks, or of all if
// there are not too many. The block is pseudo-random within its range, because devices may
// alternate on disk.
type samples struct {
	shift  uint
	owners []uint64
}

const mostSamples = 1 << 21

func newSamples(blocks uint64) samples {
	s := samples{}
	for blocks>>s.shift > mostSamples {
		s.shift++
	}
	s.owners = make([]uint64, blocks>>s.shift+1)
	return s
}

// add adds owners of data block b.
func (s *samples) add(b uint64, o owners) {
	const golden = 0x9E3779B97F4A7C15 // spreads the bits
	i := b >> s.shift
	if s.shift > 0 && b&(1<<s.shift-1) != i*golden>>(64-s.shift) {
		return
	}
	for {
		old := atomic.LoadUint64(&s.owners[i])
		joined := uint64(owners(old).join(o))
		if joined == old || atomic.CompareAndSwapUint64(&s.owners[i], old, joined) {
			return
		}
	}
}

// count fills in the number of common blocks.
func (m *Matrix) count(s samples, volumes []Volume) {
	m.Every = 1 << s.shift
	m.Common = make([][]uint64, len(m.Devices))
	for i := range m.Common {
		m.Common[i] = make([]uint64, len(m.Devices))
		m.Common[i][i] = volumes[m.Devices[i]].MappedBlocks
	}
	times := map[uint64]uint64{}
	for _, o := range s.owners {
		if o != 0 {
			times[o] += m.Every
		}
	}
	only := map[[2]int]uint64{}
	for o, n := range times {
		devices := bitsOf(owners(o) & listed)
		for i, a := range devices {
			for _, b := range devices[i+1:] {
				m.Common[a][b] += n
				m.Common[b][a] += n
			}
		}
		if len(devices) == 2 && owners(o)&^listed == 0 {
			only[[2]int{devices[0], devices[1]}] += n
		}
	}
	var pairs []Pair
	for pair, n := range only {
		pairs = append(pairs, Pair{pair[0], pair[1], n})
	}
	best := order(len(pairs), func(i, j int) int {
		a, b := pairs[i], pairs[j]
		return cmp.Or(cmp.Compare(b.Blocks, a.Blocks), cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B))
	})
	for _, i := range best[:min(len(best), mostPairs)] {
		m.Pairs = append(m.Pairs, pairs[i])
	}
	m.findOrigins(volumes)
}

// bitsOf returns the numbers of the set bits.
func bitsOf(o owners) []int {
	var set []int
	for ; o != 0; o &= o - 1 {
		set = append(set, bits.TrailingZeros64(uint64(o)))
	}
	return set
}

// findOrigins finds the origin of each device. A snapshot raises the pool's time, which becomes
// its creation time and its origin's last snapshot time, unless the origin had a later snapshot.
func (m *Matrix) findOrigins(volumes []Volume) {
	m.Origins = make([]Origin, len(m.Devices))
	for i, k := range m.Devices {
		d := &volumes[k]
		m.Origins[i] = Origin{Of: -1}
		if d.HasOrigin {
			if of, ok := m.index[d.Origin]; ok && of != i {
				m.Origins[i].Of = of
			}
			continue
		}
		if d.Named {
			continue
		}
		best := uint64(0)
		for j, l := range m.Devices {
			o := &volumes[l]
			if o.CreationTime < d.CreationTime && o.SnapshottedTime >= d.CreationTime && m.Common[i][j] > best {
				best = m.Common[i][j]
				m.Origins[i] = Origin{j, true}
			}
		}
	}
}
