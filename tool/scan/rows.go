package scan

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"strings"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata/block"
)

var le = binary.LittleEndian

// An oddity is a block that is not valid as any kind, but is more than noise.
type oddity struct {
	kind  survey.Kind // as the block it claims to be
	right bool        // the checksum is right
	self  block.Nr
	err   error // why its owner or its checksum does not accept it; nil if misplaced
}

// examineUnknown examines the blocks that the survey could not identify.
func (s *scanner) examineUnknown(ctx context.Context) error {
	s.odd = map[block.Nr]oddity{}
	var mu sync.Mutex
	return s.raw.Each(ctx, s.unknown(), func(_ int, nr block.Nr, b *block.Data, err error) error {
		if err != nil {
			return nil // a read that fails now and then
		}
		kind := block.KindOf(b)
		wanted := s.wanted(nr)
		o := oddity{kind: survey.Unknown, right: kind != block.UnknownKind, self: block.SelfReference(b)}
		switch {
		case o.right && o.self != nr:
			o.kind = survey.Examine(o.self, b, s.blocks)
		case o.right && kind == block.Node:
			if _, o.err = btree.DecodeAny(nr, b); o.err == nil {
				o.err = fmt.Errorf("block %d: a btree node with values of unknown size", nr)
			}
		case wanted != block.UnknownKind:
			o.err = block.Verify(nr, b, wanted)
		default:
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		s.odd[nr] = o
		return nil
	})
}

func (s *scanner) unknown() iter.Seq[block.Nr] {
	return func(yield func(block.Nr) bool) {
		for nr := s.opt.Begin; nr < s.opt.End; nr++ {
			if s.survey.Kinds[nr] == survey.Unknown && !yield(nr) {
				return
			}
		}
	}
}

// wanted returns the kind of block that the first owner of nr expects; UnknownKind if it has none.
func (s *scanner) wanted(nr block.Nr) block.Kind {
	if nr == 0 {
		return block.Superblock
	}
	if s.roles == nil {
		return block.UnknownKind
	}
	for tree := range nrTrees {
		if (s.roles[nr][live]|s.roles[nr][held])&(1<<tree) == 0 {
			continue
		}
		switch tree {
		case Superblock, SnapshotSuperblock:
			return block.Superblock
		case MetadataIndex:
			return block.Index
		case DataBitmap, MetadataBitmap:
			return block.Bitmap
		default:
			return block.Node
		}
	}
	return block.UnknownKind
}

// facts are everything known about a block, except its keys and its own faults.
type facts struct {
	kind            survey.Kind
	checksum        Checksum
	use             Use
	roles           [sides]uint16
	devices         [sides]devices
	stored, counted count
	hidden          bool // a bitmap says 3 or more, but the overflow tree has no count
}

type count struct {
	known bool
	n     uint32
}

func (c count) pointer() *uint32 {
	if !c.known {
		return nil
	}
	return &c.n
}

// A stretch is a row being built.
type stretch struct {
	facts
	first   block.Nr
	n       uint64
	keys    btree.KeyRange
	hasKeys bool
	single  bool // has faults of its own
}

// continues reports whether next, the block after t, belongs to the same row.
func (t *stretch) continues(next *stretch) bool {
	return t.n > 0 && t.first+block.Nr(t.n) == next.first && t.facts == next.facts && !t.single && !next.single && t.hasKeys == next.hasKeys &&
		(!t.hasKeys || !t.keys.Open() && t.keys.Last+1 == next.keys.First)
}

// report reports the rows.
func (s *scanner) report(ctx context.Context, report func(Row) error) error {
	s.progress("reporting")
	var now stretch
	flush := func() error {
		if now.n == 0 {
			return nil
		}
		row := s.row(&now)
		if s.opt.FaultsOnly && len(row.Faults) == 0 {
			return nil
		}
		return report(row)
	}
	for nr := s.opt.Begin; nr < s.opt.End; nr++ {
		if s.opt.Snapshot && s.sbErr == nil && s.roles[nr] == [sides]uint16{} {
			continue // it may be changing
		}
		next := s.describe(nr)
		if now.continues(&next) {
			now.n++
			now.keys.Last = next.keys.Last
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		now = next
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return flush()
}

// describe returns what is known about a block.
func (s *scanner) describe(nr block.Nr) stretch {
	t := stretch{first: nr, n: 1, facts: facts{kind: s.survey.Kinds[nr], checksum: RightChecksum}}
	o, odd := s.odd[nr]
	_, corrected := s.corrections[nr]
	switch {
	case t.kind == survey.Empty || t.kind == survey.Unreadable:
		t.checksum = NoChecksum
	case corrected, t.kind == survey.Unknown && !o.right:
		t.checksum = WrongChecksum
	}
	if odd {
		t.kind = o.kind
	}
	t.single = odd || corrected || len(s.faults[nr]) > 0 || nr == 0 && s.sbErr != nil
	if t.keys, t.hasKeys = s.keys[nr]; !t.hasKeys {
		t.keys, t.hasKeys = s.nodeKeys(nr)
	}
	s.owners(nr, &t)
	return t
}

// nodeKeys returns the keys below a node.
func (s *scanner) nodeKeys(nr block.Nr) (btree.KeyRange, bool) {
	n, ok := s.survey.Node(nr)
	if !ok || n.N == 0 {
		return btree.KeyRange{}, false
	}
	first, last := n.First, n.Last
	if n.Kind == survey.Inner {
		if tree := s.survey.Subtree(nr); tree.N > 0 {
			first, last = tree.First, tree.Last
		}
	}
	return btree.KeyRange{First: first, Last: last}, true
}

// owners fills in the owners of a block, and its counts.
func (s *scanner) owners(nr block.Nr, t *stretch) {
	if s.sbErr != nil {
		t.use = UnknownOwner
		return
	}
	t.roles = s.roles[nr]
	for side, all := range s.devices {
		if nr < block.Nr(len(all)) && t.roles[side]&(1<<Mappings) != 0 {
			t.devices[side] = all[nr]
		}
	}
	if !s.opt.Snapshot {
		t.counted = count{true, s.refs.Get(uint64(nr))}
	}
	if s.stored != nil && uint64(nr) < s.sb.MetadataSpaceMap.NrBlocks {
		hidden := s.stored.Hidden(uint64(nr))
		t.hidden = hidden != nil && hidden.Kind == spacemap.NoOverflow
		if hidden == nil {
			t.stored = count{true, s.stored.Get(uint64(nr))}
		}
	}
	// The owner decides between the two kinds of leaf with 8-byte values.
	switch roles := t.roles[live] | t.roles[held]; {
	case roles == 1<<Mappings && t.kind == survey.TopLeaf:
		t.kind = survey.MappingLeaf
	case roles == 1<<TopLevel && t.kind == survey.MappingLeaf:
		t.kind = survey.TopLeaf
	}
	switch {
	case t.roles != [sides]uint16{}:
		t.use = InUse
	case nr >= s.limit:
		t.use = Beyond
	case !t.stored.known || t.stored.n > 0:
		t.use = Unowned
	case t.kind == survey.Empty || t.kind == survey.Unknown || t.kind == survey.Unreadable:
		t.use = Free
	default:
		t.use = LeftOver
	}
}

// row returns t as a Row.
func (s *scanner) row(t *stretch) Row {
	r := Row{
		First: t.first, N: t.n, Kind: t.kind, Checksum: t.checksum, Use: t.use,
		Stored: t.stored.pointer(), Counted: t.counted.pointer(), Owners: s.ownersOf(t),
	}
	if correction, ok := s.corrections[t.first]; ok {
		r.Correction = &correction
	}
	if t.hasKeys {
		keys := t.keys
		r.Keys = &keys
	}
	o, odd := s.odd[t.first]
	misplaced := odd && o.right && o.self != t.first
	if misplaced {
		r.Self = &o.self
	}
	r.Faults = s.rowFaults(t, r.Correction, o, misplaced)
	return r
}

func (s *scanner) ownersOf(t *stretch) []Owner {
	var owners []Owner
	for tree := range nrTrees {
		for side := range sides {
			if t.roles[side]&(1<<tree) == 0 {
				continue
			}
			owner := Owner{Tree: tree, Snapshot: side == held}
			if d := t.devices[side]; tree == Mappings {
				for _, i := range d.least {
					if i > 0 {
						owner.FirstIDs = append(owner.FirstIDs, s.ids[i-1])
					}
				}
				owner.Devices = uint64(len(owner.FirstIDs))
				if owner.Devices == MaxIDs { // otherwise these are all, however many paths there are
					owner.Devices = max(MaxIDs, min(uint64(d.n), uint64(len(s.ids))))
				}
			}
			owners = append(owners, owner)
		}
	}
	return owners
}

// rowFaults describes the faults of the blocks of t.
func (s *scanner) rowFaults(t *stretch, correction *block.Correction, o oddity, misplaced bool) []string {
	var faults []string
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	wrong := s.wrongFor(t)
	switch {
	case t.kind == survey.Unreadable:
		add("cannot be read")
	case correction != nil:
		add("%v; corrected, it is a valid %v", correction, correction.Kind)
	case misplaced:
		add("misplaced: it says it is block %d", o.self)
	case t.first == 0 && s.sbErr != nil:
		add("%v", s.sbErr)
	case o.err != nil:
		add("%v", o.err)
	case t.use == UnknownOwner && t.kind == survey.Unknown:
		add("not a valid block of any kind")
	}
	switch {
	case wrong == "" || len(faults) > 0 && correction == nil:
	case t.kind == survey.Empty:
		add("all zero, but used for %s", wrong)
	default:
		add("not the kind it is used as: %s", wrong)
	}
	if used := s.usedFor(t); len(used) > 1 {
		add("used for %s", strings.Join(used, " and for "))
	}
	faults = append(faults, s.faults[t.first]...)
	if fault := s.countFault(t); fault != "" {
		faults = append(faults, fault)
	}
	return faults
}

// usedFor names the trees that use a block.
func (s *scanner) usedFor(t *stretch) []string {
	var used []string
	for tree := range nrTrees {
		if (t.roles[live]|t.roles[held])&(1<<tree) != 0 {
			used = append(used, tree.String())
		}
	}
	return used
}

// wrongFor names the first tree that t does not fit; "" if there is none.
func (s *scanner) wrongFor(t *stretch) string {
	for tree := range nrTrees {
		if (t.roles[live]|t.roles[held])&(1<<tree) != 0 && !fits(tree, t.kind) {
			return tree.String()
		}
	}
	return ""
}

// countFault describes a wrong reference count.
func (s *scanner) countFault(t *stretch) string {
	each := ""
	if t.n > 1 {
		each = " to each"
	}
	switch {
	case t.hidden:
		return fmt.Sprintf("its bitmap says a count of 3 or more, but the overflow tree has none; %s found%s", references(t.counted.n), each)
	case !t.stored.known || !t.counted.known || t.stored.n == t.counted.n:
		return ""
	case t.stored.n > t.counted.n && s.incomplete:
		return fmt.Sprintf("count is %d, but %s found%s; nodes that cannot be read may have others", t.stored.n, references(t.counted.n), each)
	}
	return fmt.Sprintf("count is %d, but %s found%s", t.stored.n, references(t.counted.n), each)
}

func references(n uint32) string {
	if n == 1 {
		return "1 reference was"
	}
	return fmt.Sprintf("%d references were", n)
}
