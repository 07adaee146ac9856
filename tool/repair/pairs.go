package repair

import (
	"cmp"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A detailTable is the content of a device details tree that nothing points to.
type detailTable struct {
	root        block.Nr
	mapped      []uint64 // mappings of each device
	transaction uint64   // highest
	time        uint32   // newest
}

func (t *detailTable) newer(than *detailTable) bool {
	return cmp.Or(cmp.Compare(t.time, than.time), cmp.Compare(t.transaction, than.transaction)) > 0
}

// mostDetails limits the total number of devices in the tables considered.
const mostDetails = 1 << 22

// detailTables reads the device details trees that nothing points to, keyed by their ids. If there
// are too many, it takes those in the highest blocks.
func (e *evidence) detailTables() map[string][]*detailTable {
	roots := e.survey.Roots(detailsKind)
	from, room := len(roots), uint64(mostDetails)
	for from > 0 {
		n := e.survey.Subtree(roots[from-1]).N
		if n > room {
			break
		}
		room -= n
		from--
	}
	tables := map[string][]*detailTable{}
	var ids []byte
	for _, root := range roots[from:] {
		t := &detailTable{root: root}
		ids = ids[:0]
		for leaf := range e.survey.Leaves(root) {
			for _, d := range e.detailsIn(leaf.Block) {
				ids = le.AppendUint32(ids, uint32(d.ID))
				t.mapped = append(t.mapped, d.MappedBlocks)
				t.transaction = max(t.transaction, d.TransactionID)
				t.time = max(t.time, d.SnapshottedTime, d.CreationTime)
			}
		}
		tables[string(ids)] = append(tables[string(ids)], t)
	}
	return tables
}

// detailsIn returns the devices in a leaf of device details.
func (e *evidence) detailsIn(nr block.Nr) []metadata.Device {
	var b block.Data
	if e.r.Read(nr, &b) != nil {
		return nil
	}
	n, err := btree.Decode(nr, &b, metadata.DetailsSize)
	if err != nil || !n.Leaf() {
		return nil
	}
	var devices []metadata.Device
	for key, value := range n.All() {
		devices = append(devices, metadata.Device{ID: metadata.DevID(key), Details: metadata.DecodeDetails(value)})
	}
	return devices
}

// pair finds the details that belong to a top level: with equal counts for all devices, or at
// least none below what can be read. It returns 0 if there are none.
func (e *evidence) pair(root block.Nr, byIDs map[string][]*detailTable) block.Nr {
	var ids []byte
	var trees []survey.Subtree
	for leaf := range e.survey.Leaves(root) {
		for _, c := range e.survey.Entries(leaf) {
			ids = le.AppendUint32(ids, uint32(c.Key))
			trees = append(trees, e.survey.Subtree(c.Block))
		}
	}
	var best *detailTable
	exact := false
	for _, t := range byIDs[string(ids)] {
		equal, possible := true, true
		for i := range t.mapped {
			have, want := trees[i].N, t.mapped[i]
			equal = equal && have == want
			possible = possible && (have == want || have < want && !trees[i].Whole)
		}
		if possible && (best == nil || equal && !exact || equal == exact && t.newer(best)) {
			best, exact = t, equal
		}
	}
	if best == nil {
		return 0
	}
	return best.root
}
