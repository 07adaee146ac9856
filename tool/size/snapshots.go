package size

import (
	"math"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// What half full nodes hold besides mappings. Leaves of mappings and internal nodes
// have room for 252 entries, of reference counts for 336, of device details for 126.
const (
	halfInner   = 126
	halfCounts  = 168
	halfDetails = 63
)

// scattered is the most metadata blocks that a device and its snapshots take, if each snapshot
// changes up to Divergence percent of the mappings by writes that are spread evenly. The
// pool has to hold what they write: the more they change, the smaller is the device.
func (p Pool) scattered() float64 {
	all := p.Divergence / 100
	most := max(p.spread(0), p.spread(all))
	for d := 1.0; d > 1e-9; d /= 1.02 {
		if d < all {
			most = max(most, p.spread(d))
		}
	}
	return most
}

// spread is how many metadata blocks the pool takes if it is full, and each snapshot has changed
// the part d of the device. A change to one mapping copies the whole leaf and all nodes above
// it, so a snapshot has copies of the part 1-(1-d)^k of all nodes that lead to k mappings each.
func (p Pool) spread(d float64) float64 {
	n, snapshots := float64(p.Blocks()), float64(p.Snapshots)
	mapped := n / (1 + snapshots*d)
	blocks, copied := 0.0, 0.0 // of the device; of one snapshot
	nodes, under := math.Ceil(mapped/halfLeaf), float64(halfLeaf)
	for {
		blocks += nodes
		copied += nodes * changed(d, under)
		if nodes <= 1 {
			break
		}
		nodes, under = math.Ceil(nodes/halfInner), under*halfInner
	}
	devices := snapshots + float64(p.Thins)
	blocks += snapshots*max(1, math.Ceil(copied)) + float64(p.Thins)            // a root at least
	blocks += 1 + math.Ceil(devices/halfDetails) + math.Ceil(devices/halfInner) // superblock, details, top level
	blocks += 2 + math.Ceil(n/spacemap.PerBitmap)*(1+1.0/halfInner)             // data bitmaps, their index
	if p.Snapshots > 1 {
		blocks += math.Ceil(mapped / halfCounts) // data blocks with more than two references
	}
	return blocks + 2 + math.Ceil(blocks/spacemap.PerBitmap) + math.Ceil(blocks/halfCounts) // the same of metadata
}

// changed is the part of nodes with so many mappings below them in which at least one has
// changed, if the part d of all has.
func changed(d, under float64) float64 { return -math.Expm1(under * math.Log1p(-d)) }

// withReserve is how large metadata must be for a pool to work that takes so many bytes of it:
// one block must be free besides the reserve.
func withReserve(bytes uint64) uint64 {
	need := bytes / block.Size
	return (need + 1 + min(need/(metadata.ReservePart-1), metadata.MostReserve)) * block.Size
}

// Advice is how large to make the metadata of a pool.
type Advice struct {
	Bytes   uint64 // whole MiB, or Ceiling if Fits is false
	Need    uint64 // what the pool takes by the rule that asks most, with the reserve; may be above Ceiling
	Rule    Rule   // that rule; "" if it is what the pool takes now or when its nodes are half full
	Reserve uint64 // bytes, of Bytes
	Fits    bool
}

// Advise returns the largest of all estimates that apply. Those that count nodes get the
// reserve of the kernel on top; the others are sizes of devices already.
func (p Pool) Advise() Advice {
	var most uint64
	var decided Rule
	fits := true
	for _, rule := range p.Rules() {
		e := p.Estimate(rule)
		need := e.Bytes
		if e.counts() {
			need = withReserve(e.Need)
			fits = fits && need <= Ceiling
		}
		if need > most {
			most, decided = need, rule
		}
	}
	return advice(most, decided, fits)
}

func advice(need uint64, rule Rule, fits bool) Advice {
	bytes := min(roundUp(need, mib), Ceiling)
	return Advice{Bytes: bytes, Need: need, Rule: rule, Reserve: metadata.Reserve(bytes/block.Size) * block.Size, Fits: fits}
}

// AdviseFrom is Advise for a pool whose metadata takes so many blocks when its nodes are full, and
// so many now, if that is known. In use, full nodes are split until they are half full.
func (p Pool) AdviseFrom(full, now uint64) Advice {
	a := p.Advise()
	most := max(2*min(full, spacemap.MaxMetadata), min(now, spacemap.MaxMetadata))
	if need := withReserve(most * block.Size); need > a.Need {
		a = advice(need, "", need <= Ceiling)
	}
	return a
}

// FittingBlockSize is the smallest block size, doubled from the least there is, with which the
// metadata of the pool fits below the ceiling; 0 if none does. It takes the same part of the
// blocks of each size to change.
func (p Pool) FittingBlockSize() uint64 {
	for size := uint64(leastBlock); size <= mostBlock; size *= 2 {
		p.BlockSize = size
		if p.Advise().Fits {
			return size
		}
	}
	return 0
}
