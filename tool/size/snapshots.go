package size

import (
	"math"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Entries in half full nodes, besides mappings. Leaves of mappings and internal nodes have room
// for 252 entries, reference counts for 336, device details for 126.
const (
	halfInner   = 126
	halfCounts  = 168
	halfDetails = 63
)

// scattered returns the maximum number of metadata blocks for a device and its snapshots, if each
// snapshot changes up to Divergence percent of the mappings by evenly spread writes. The pool must
// also hold the written data: the more is changed, the smaller the device can be.
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

// spread returns the number of metadata blocks of a full pool if each snapshot has changed a
// fraction d of the device. A change to one mapping copies the whole leaf and all nodes above it.
// So a snapshot has copies of a fraction 1-(1-d)^k of the nodes with k mappings below them.
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
	blocks += snapshots*max(1, math.Ceil(copied)) + float64(p.Thins)            // at least a root
	blocks += 1 + math.Ceil(devices/halfDetails) + math.Ceil(devices/halfInner) // superblock, details, top level
	blocks += 2 + math.Ceil(n/spacemap.PerBitmap)*(1+1.0/halfInner)             // data bitmaps, their index
	if p.Snapshots > 1 {
		blocks += math.Ceil(mapped / halfCounts) // data blocks with more than two references
	}
	return blocks + 2 + math.Ceil(blocks/spacemap.PerBitmap) + math.Ceil(blocks/halfCounts) // the same for metadata
}

// changed returns the fraction of nodes, with under mappings below them, in which at least one
// mapping has changed, if a fraction d of all mappings has.
func changed(d, under float64) float64 { return -math.Expm1(under * math.Log1p(-d)) }

// withReserve returns the metadata size for a pool that uses the given bytes of it: one block must
// be free besides the reserve.
func withReserve(bytes uint64) uint64 {
	need := bytes / block.Size
	return (need + 1 + min(need/(metadata.ReservePart-1), metadata.MostReserve)) * block.Size
}

// Advice is the recommended metadata size for a pool.
type Advice struct {
	Bytes   uint64 // in whole MiB, or Ceiling if Fits is false
	Need    uint64 // need of the pool by the most demanding rule, with the reserve; may be above Ceiling
	Rule    Rule   // that rule; "" if the need is the current size or that with half full nodes
	Reserve uint64 // bytes, included in Bytes
	Fits    bool
}

// Advise returns the largest estimate that applies. Estimates that count nodes get the kernel's
// reserve on top; the others are already sizes of devices.
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

// AdviseFrom is Advise for a pool with known metadata: full is the number of blocks with full
// nodes, now the current number, if known. In use, full nodes are split until they are half full.
func (p Pool) AdviseFrom(full, now uint64) Advice {
	a := p.Advise()
	most := max(2*min(full, spacemap.MaxMetadata), min(now, spacemap.MaxMetadata))
	if need := withReserve(most * block.Size); need > a.Need {
		a = advice(need, "", need <= Ceiling)
	}
	return a
}

// FittingBlockSize returns the smallest block size with which the pool's metadata fits below the
// ceiling; 0 if there is none. It starts at the minimum and doubles, and assumes that the same
// fraction of blocks changes at each size.
func (p Pool) FittingBlockSize() uint64 {
	for size := uint64(leastBlock); size <= mostBlock; size *= 2 {
		p.BlockSize = size
		if p.Advise().Fits {
			return size
		}
	}
	return 0
}
