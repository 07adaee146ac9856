package report

import (
	"cmp"
	"math/bits"
	"sync/atomic"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Matrix says which of the chosen devices have how many data blocks in common.
type Matrix struct {
	Devices []int      // indexes in Report.Volumes, ascending
	Common  [][]uint64 // blocks, by index in Devices; on the diagonal, those of the device
	Every   uint64     // the figures are from one in so many blocks; 1: they are exact
	Pairs   []Pair     // those that free most together, the best first
	Origins []Origin   // by index in Devices

	index map[metadata.DevID]int // in Devices
}

// A Pair is two devices, by index in Matrix.Devices, and the blocks that only they have in
// common: deleting both gives back so many more than they have exclusively.
type Pair struct {
	A, B   int
	Blocks uint64
}

// An Origin is what a device is a snapshot of, as an index in Matrix.Devices.
type Origin struct {
	Of     int  // -1: none is known
	Likely bool // it is what shares most of those that it can be, not what LVM says
}

// mostPairs is how many pairs are listed.
const mostPairs = 10

// choose takes the devices to compare.
func (m *Matrix) choose(volumes []Volume) {
	m.Devices = chosen(volumes, MostSharing)
	m.index = map[metadata.DevID]int{}
	for i, v := range m.Devices {
		m.index[volumes[v].ID] = i
	}
}

// owners are the devices that lead to something: a bit for each device of a Matrix, and two for
// all others together.
type owners uint64

const (
	another  owners = 1 << 62 // a device that is not in the matrix
	severals owners = 1 << 63 // more than one such device
	listed          = another - 1
)

// join are the owners of what has parents with owners o and p, which have no device in common
// unless the trees are damaged.
func (o owners) join(p owners) owners {
	both := o | p
	if o&another != 0 && p&another != 0 {
		both |= severals
	}
	return both
}

// many reports whether there is more than one device.
func (o owners) many() bool { return o&(o-1) != 0 }

// owners finds the devices that lead to each leaf.
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

// samples are the owners of one shared data block of each stretch of 1<<shift: of all, if they are not
// too many. Which one of a stretch it is looks random, as devices may take turns on the disk.
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

// count fills in what the devices have in common.
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

// bitsOf are the numbers of the bits that are set.
func bitsOf(o owners) []int {
	var set []int
	for ; o != 0; o &= o - 1 {
		set = append(set, bits.TrailingZeros64(uint64(o)))
	}
	return set
}

// findOrigins finds what each device is a snapshot of. A snapshot raises the time, and that is
// its creation and when its origin had a snapshot taken last, unless there was a later one.
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
