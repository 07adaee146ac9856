package repair

import (
	"cmp"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
)

// A ledger holds everything needed to decide which candidates become mappings, and which of those
// are confirmed.
type ledger struct {
	holes   []ledgerHole
	surplus *surplus
	lacking map[metadata.DevID]uint64 // mappings that each device lacks, where known
}

// A ledgerHole is a hole with its candidates.
type ledgerHole struct {
	keys       btree.KeyRange
	owners     metadata.OwnerList
	leaf       bool        // it was a single leaf
	rivals     bool        // other holes could have lost the same keys
	candidates []candidate // by ascending thin block, then value, then age
}

// A decision is a mapping that fills a hole.
type decision struct {
	candidate
	contested bool // another candidate was equally likely
	confirmed bool // the books balance with it
}

// findRivals marks the holes that could have lost the same keys.
func (l *ledger) findRivals() {
	byBegin := make([]*ledgerHole, len(l.holes))
	for i := range l.holes {
		byBegin[i] = &l.holes[i]
	}
	slices.SortStableFunc(byBegin, func(a, b *ledgerHole) int { return cmp.Compare(a.keys.First, b.keys.First) })
	var last *ledgerHole // the one that reaches farthest so far
	for _, h := range byBegin {
		if last != nil && last.keys.Overlaps(h.keys) {
			h.rivals, last.rivals = true, true
		}
		if last == nil || h.keys.Last > last.keys.Last {
			last = h
		}
	}
}

// decide returns the mappings for each hole, by ascending thin block.
//
// A surplus proves that some mapping is lost, not that it is this one. So candidates are confirmed
// only all together. With them, every data block must have the references that are counted and
// every device the mappings its details count; everything these sums need must have been readable;
// and no other candidate or hole may fit instead. Data blocks can also be reused for other thin
// blocks, so each must have been in use ever since. Otherwise, they are guesses.
func (l *ledger) decide() [][]decision {
	taken := make([][]decision, len(l.holes))
	for i := range l.holes {
		taken[i] = l.holes[i].best()
	}
	l.dropContradictions(taken)
	l.limit(taken)
	if !l.balances(taken) {
		return taken
	}
	for i := range taken {
		for k := range taken[i] {
			d := &taken[i][k]
			d.confirmed = d.kept && !d.contested && !l.holes[i].rivals
		}
	}
	return taken
}

// best returns one candidate for each thin block: a counted one from the newest state.
func (h *ledgerHole) best() []decision {
	var left []decision
	all := h.candidates
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].thin == all[0].thin {
			n++
		}
		top, contested := all[0], false
		for _, c := range all[1:n] {
			contested = contested || c.data() != top.data() && c.counted == top.counted
			if better(c, top) > 0 {
				top = c
			}
		}
		tied := slices.ContainsFunc(all[:n], func(c candidate) bool { return c.data() != top.data() && better(c, top) == 0 })
		if !tied {
			left = append(left, decision{candidate: top, contested: contested})
		}
		all = all[n:]
	}
	return left
}

// better compares two candidates of which only one can be right.
func better(a, b candidate) int {
	return cmp.Or(cmp.Compare(boolToInt(a.counted), boolToInt(b.counted)), cmp.Compare(b.age, a.age))
}

// dropContradictions decides between candidates for the same data block. If they map different
// thin blocks, only one can be right: that of the newest state. If they map the same thin block of
// several devices, all can be right, as snapshots share.
func (l *ledger) dropContradictions(taken [][]decision) {
	best := map[uint64]candidate{} // by data block
	tied, contested := map[uint64]bool{}, map[uint64]bool{}
	for _, ds := range taken {
		for _, d := range ds {
			data := d.data()
			b, ok := best[data]
			switch other := ok && d.thin != b.thin; {
			case !ok:
				best[data] = d.candidate
			case other && better(d.candidate, b) > 0:
				best[data], tied[data], contested[data] = d.candidate, false, true
			case other:
				tied[data], contested[data] = tied[data] || better(d.candidate, b) == 0, true
			}
		}
	}
	for i := range taken {
		taken[i] = slices.DeleteFunc(taken[i], func(d decision) bool {
			data := d.data()
			return tied[data] || best[data].thin != d.thin
		})
		for k := range taken[i] {
			d := &taken[i][k]
			d.contested = d.contested || contested[d.data()]
		}
	}
}

// limit drops mappings beyond what a device lacks or a leaf has room for, the least likely first.
func (l *ledger) limit(taken [][]decision) {
	most := btree.MaxEntries(metadata.MappingSize)
	lacking := map[metadata.DevID]uint64{}
	for id, n := range l.lacking {
		lacking[id] = n
	}
	work := 0
	for i := range taken {
		if len(taken[i]) == 0 {
			continue
		}
		h := &l.holes[i]
		if work += len(h.owners.IDs); work > metadata.MostOwners {
			h.owners = metadata.OwnerList{IDs: h.owners.Sample(), Incomplete: true}
		}
		room := uint64(len(taken[i]))
		if h.leaf {
			room = min(room, uint64(most))
		}
		for _, id := range h.owners.IDs {
			if n, ok := lacking[id]; ok {
				room = min(room, n)
			}
		}
		if room < uint64(len(taken[i])) {
			slices.SortStableFunc(taken[i], func(a, b decision) int {
				return cmp.Or(better(b.candidate, a.candidate), cmp.Compare(boolToInt(a.contested), boolToInt(b.contested)))
			})
			taken[i] = taken[i][:room]
			slices.SortFunc(taken[i], func(a, b decision) int { return cmp.Compare(a.thin, b.thin) })
		}
		for _, id := range h.owners.IDs {
			if _, ok := lacking[id]; ok {
				lacking[id] -= uint64(len(taken[i]))
			}
		}
	}
}

// balances reports whether the books balance with the mappings that were taken.
func (l *ledger) balances(taken [][]decision) bool {
	if !l.surplus.balanced {
		return false
	}
	references := map[uint64]uint32{}
	total := uint64(0)
	for i, ds := range taken {
		if l.holes[i].owners.Incomplete {
			return false
		}
		for _, d := range ds {
			references[d.data()]++
			total++
		}
	}
	if total != l.surplus.total() {
		return false
	}
	for data, n := range references {
		if missing, sure := l.surplus.at(data); !sure || n != missing {
			return false
		}
	}
	got := l.got(taken)
	for id := range got {
		if _, ok := l.lacking[id]; !ok {
			return false
		}
	}
	for id, lacking := range l.lacking {
		if got[id] != lacking {
			return false
		}
	}
	return true
}

// got returns how many mappings each device gets. Many holes have the same list of owners.
func (l *ledger) got(taken [][]decision) map[metadata.DevID]uint64 {
	byList := map[*metadata.DevID]uint64{}
	lists := map[*metadata.DevID][]metadata.DevID{}
	for i, ds := range taken {
		if ids := l.holes[i].owners.IDs; len(ids) > 0 {
			byList[&ids[0]] += uint64(len(ds))
			lists[&ids[0]] = ids
		}
	}
	got := map[metadata.DevID]uint64{}
	for list, n := range byList {
		for _, id := range lists[list] {
			got[id] += n
		}
	}
	return got
}
