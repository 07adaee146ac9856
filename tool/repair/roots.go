package repair

import (
	"cmp"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/survey"
)

// chooseRoots returns the roots to follow: those of the superblock as long as one
// of them can be read, since the other can be made from it; else the best pair that
// the survey finds.
func (f *finder) chooseRoots() (mapping, details block.Nr, err error) {
	mapping, details = f.roots()
	usable := f.readable(mapping, metadata.RootSize) || f.readable(details, metadata.DetailsSize)
	if f.sbErr == nil && usable || f.opt.MappingRoot != 0 && f.opt.DetailsRoot != 0 {
		return mapping, details, nil
	}
	if f.sbErr == nil {
		f.note("neither root that the superblock names can be read: blocks %d and %d", mapping, details)
		f.report.Guessed = true
	}
	g, ok := f.bestGeneration()
	if !ok {
		return 0, 0, ErrNoRoots
	}
	if f.sbErr == nil && f.opt.MappingRoot == 0 && g.Details != 0 && f.countMetadata() != nil {
		// Which trees are of the last transaction the space map knows.
		f.aged = true
		f.note("the devices are those of an earlier transaction: device details from block %d (time %d, highest transaction of a device %d)",
			g.Details, g.Time, g.TransactionID)
		return mapping, g.Details, nil
	}
	if f.opt.MappingRoot == 0 {
		mapping = g.Mapping
	}
	if f.opt.DetailsRoot == 0 {
		details = g.Details
	}
	f.note("using the pair of roots that looks newest: mappings from block %d, device details from block %d (time %d, highest transaction of a device %d)",
		mapping, details, g.Time, g.TransactionID)
	if f.sbErr != nil {
		f.derive(g)
	}
	return mapping, details, nil
}

// derive fills in what the lost superblock said.
func (f *finder) derive(g *Generation) {
	f.sb.Time = max(f.sb.Time, g.Time)
	if f.opt.Overrides.TransactionID == nil {
		f.sb.TransactionID = g.TransactionID + 1
		f.note("the transaction id is not known; using %d, one above the highest of a device. LVM wants its own: see transaction_id in its metadata", f.sb.TransactionID)
	}
	if f.opt.Overrides.NrDataBlocks == nil {
		f.note("the number of data blocks is not known; using what is mapped. Give it with --nr-data-blocks to use the rest of the data device")
	}
}

// readable reports whether the root of a tree can be read at all.
func (f *finder) readable(root block.Nr, valueSize int) bool {
	var b block.Data
	if root == 0 || root >= f.limit || f.r.Read(root, &b) != nil {
		return false
	}
	_, err := btree.Decode(root, &b, valueSize)
	return err == nil
}

// A Generation is the state of a pool that some transaction left behind: a top
// level of the mapping tree, and the device details that go with it.
type Generation struct {
	Mapping       block.Nr
	Details       block.Nr // 0: there are none that go with it
	Time          uint32   // newest of mappings and details
	TransactionID uint64   // highest of a device
	Devices       []DeviceRoot
	Mappings      uint64 // that can be read, those that devices share counted for each
	Whole         bool   // all of it can be read, and details and mappings agree
	Reused        uint64 // mappings whose data blocks now belong to others
	Current       bool   // the superblock names it

	live int // devices whose root is in use
}

// A DeviceRoot is a device of a Generation.
type DeviceRoot struct {
	ID       metadata.DevID
	Root     block.Nr
	Mappings uint64           // that can be read
	Expected uint64           // that the details count
	Details  metadata.Details // if the Generation has any
	Reused   uint64           // see [Generation]
}

// generations returns all that the survey finds, the newest first.
func (f *finder) generations() []*Generation {
	if f.past == nil {
		f.past = f.findGenerations()
	}
	return f.past
}

func (f *finder) findGenerations() []*Generation {
	counts := f.countMetadata()
	byIDs := map[string][]*detailTable{}
	for _, t := range f.detailTables() {
		byIDs[t.ids()] = append(byIDs[t.ids()], t)
	}
	var all []*Generation
	for _, root := range f.survey.Roots(survey.TopLeaf) {
		g := f.generation(root)
		f.pair(g, byIDs[g.ids()])
		for _, d := range g.Devices {
			if counts.live(d.Root) {
				g.live++
			}
		}
		all = append(all, g)
	}
	slices.SortStableFunc(all, func(a, b *Generation) int {
		return cmp.Or(
			-cmp.Compare(b2i(a.Details != 0), b2i(b.Details != 0)),
			-cmp.Compare(a.Time, b.Time), -cmp.Compare(a.TransactionID, b.TransactionID),
			-cmp.Compare(b2i(a.Whole), b2i(b.Whole)), -cmp.Compare(a.Mappings, b.Mappings), -cmp.Compare(a.live, b.live))
	})
	return all
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// generation describes what a top level leads to.
func (f *finder) generation(root block.Nr) *Generation {
	g := &Generation{Mapping: root, Whole: f.survey.Tree(root).Whole}
	for leaf := range f.survey.Leaves(root) {
		for _, e := range f.survey.Entries(leaf) {
			t := f.survey.Tree(e.Block)
			g.Devices = append(g.Devices, DeviceRoot{ID: metadata.DevID(e.Key), Root: e.Block, Mappings: t.N})
			g.Mappings += t.N
			g.Time = max(g.Time, t.Time)
			g.Whole = g.Whole && t.Whole && t.Sort == survey.MappingLeaf
		}
	}
	return g
}

func (g *Generation) ids() string {
	var ids []byte
	for _, d := range g.Devices {
		ids = le.AppendUint32(ids, uint32(d.ID))
	}
	return string(ids)
}

// pair finds the details that go with g: those with the same counts for all
// devices, or at least none below what can be read.
func (f *finder) pair(g *Generation, tables []*detailTable) {
	var best *detailTable
	exact := false
	for _, t := range tables {
		equal, possible := true, true
		for i := range t.devices {
			have, want := g.Devices[i].Mappings, t.devices[i].MappedBlocks
			equal = equal && have == want
			possible = possible && (have == want || have < want && !f.survey.Tree(g.Devices[i].Root).Whole)
		}
		if possible && (best == nil || equal && !exact || equal == exact && t.newer(best)) {
			best, exact = t, equal
		}
	}
	if g.Whole = g.Whole && exact; best == nil {
		return
	}
	g.Details, g.TransactionID, g.Time = best.root, best.transaction, max(g.Time, best.time)
	for i := range g.Devices {
		g.Devices[i].Expected, g.Devices[i].Details = best.devices[i].MappedBlocks, best.devices[i].Details
	}
}

// A detailTable is the content of a tree of device details.
type detailTable struct {
	root        block.Nr
	devices     []metadata.Device
	transaction uint64 // highest
	time        uint32 // newest
}

func (t *detailTable) newer(than *detailTable) bool {
	return cmp.Or(cmp.Compare(t.time, than.time), cmp.Compare(t.transaction, than.transaction)) > 0
}

func (t *detailTable) ids() string {
	var ids []byte
	for _, d := range t.devices {
		ids = le.AppendUint32(ids, uint32(d.ID))
	}
	return string(ids)
}

// detailTables reads all trees of device details that the survey finds.
func (f *finder) detailTables() []*detailTable {
	var tables []*detailTable
	for _, root := range f.survey.Roots(survey.DetailsLeaf) {
		t := &detailTable{root: root}
		for leaf := range f.survey.Leaves(root) {
			for _, d := range f.detailsIn(leaf.Block) {
				t.devices = append(t.devices, d)
				t.transaction = max(t.transaction, d.TransactionID)
				t.time = max(t.time, d.SnapshottedTime, d.CreationTime)
			}
		}
		tables = append(tables, t)
	}
	return tables
}

// detailsIn returns the devices in a leaf of device details.
func (f *finder) detailsIn(nr block.Nr) []metadata.Device {
	var b block.Data
	if f.r.Read(nr, &b) != nil {
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

// bestGeneration returns the newest pair of roots; details alone if there is no
// top level.
func (f *finder) bestGeneration() (*Generation, bool) {
	if all := f.generations(); len(all) > 0 {
		return all[0], true
	}
	tables := f.detailTables()
	if len(tables) == 0 {
		return nil, false
	}
	newest := slices.MaxFunc(tables, func(a, b *detailTable) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.transaction, b.transaction))
	})
	return &Generation{Details: newest.root, Time: newest.time, TransactionID: newest.transaction}, true
}
