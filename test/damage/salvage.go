package damage

import (
	"context"
	"fmt"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

// A Salvage is the result of a repair of a case.
type Salvage struct {
	Who    string
	Err    error // it refused, and said so
	Claims bool  // it claims that nothing is lost: exit code 0
	Saved  uint64
	Silent bool // the claim is false
	// Confirmed counts false mappings not called guessed. WrongState means that a wrong state of
	// the pool was taken; Named means that the report at least names the right one. Phantoms counts
	// devices that never existed.
	Confirmed         uint64
	WrongState, Named bool
	Phantoms          int
	Wrong             []string // requirements that were not met; ours only
	output            []byte
}

func (s *Salvage) wrong(format string, args ...any) {
	s.Wrong = append(s.Wrong, s.Who+": "+short(fmt.Sprintf(format, args...)))
}

// overrides returns what a user must supply if block 0 is damaged. All tools get it.
func (c *Case) overrides() (metadata.Overrides, bool) {
	sb := &c.Image.Truth.SB
	size := uint64(sb.DataBlockSize)
	o := metadata.Overrides{TransactionID: &sb.TransactionID, DataBlockSize: &size, NrDataBlocks: &sb.DataSpaceMap.NrBlocks}
	needed := slices.Contains(c.Blocks, metadata.SuperblockLocation)
	if b, err := c.read(metadata.SuperblockLocation); needed && c.composed && err == nil {
		_, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, b)
		needed = err != nil // a user with a readable superblock does not know better
	}
	return o, needed
}

// Repair runs tool/repair on a case and judges it. d is the result of Detect.
func (c *Case) Repair(ctx context.Context, d *Detection) *Salvage {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := &Salvage{Who: "repair"}
	opt := repair.Options{Parallel: 1}
	if o, needed := c.overrides(); needed {
		opt.Overrides = o
	}
	res, err := repair.Find(ctx, device{c}, opt)
	if err != nil {
		if s.Err = err; ctx.Err() != nil {
			s.wrong("it took too long: %v", err)
		}
		return s
	}
	s.Claims = res.Report.Lossless()
	if err := s.rebuild(ctx, c, res.Device); err != nil {
		s.wrong("its result cannot be restored: %v", err)
		return s
	}
	out := ReadAll(s.output)
	if out.Err != nil || len(out.Lost) > 0 {
		s.wrong("what was restored is damaged: %s", lostText(out))
		return s
	}
	said := claimsOf(&res.Report)
	s.judge(c, d.Seen, out)
	s.judgeState(c, out, said)
	s.judgePhantoms(c, out)
	s.judgeConfirmed(c, d.Seen, out, said)
	s.judgeRest(c, out)
	s.compare(c, d.Seen, out, said)
	return s
}

// rebuild writes a view as new metadata, like thin_repair, and checks it.
func (s *Salvage) rebuild(ctx context.Context, c *Case, view block.Device) error {
	pool, err := metadata.Open(view, metadata.Options{Parallel: 1})
	if err != nil {
		return err
	}
	b := write.New(write.Options{Parallel: 1})
	if err := dump.Run(ctx, pool, dump.Options{}, b); err != nil {
		return err
	}
	dev := blocktest.NewMem(int64(max(b.Least(), c.Image.blocks())) * block.Size)
	if err := b.Write(ctx, dev); err != nil {
		return err
	}
	s.output = dev.Contents()
	_, err = check.Run(ctx, dev, check.Options{Parallel: 1}, func(f check.Fault) {
		// A sealed block may map data blocks of others, and nothing shows which mapping is right.
		if !c.Sealed || !slices.Contains(sealedMayHave, f.Code) {
			s.wrong("what was restored has a fault: %s", &f)
		}
	})
	return err
}

// sealedMayHave lists the faults that a repair may leave after sealed damage. They concern facts
// stored only once, such as the uuid, and data blocks that are mapped twice.
var sealedMayHave = []check.Code{check.MappedTwice, check.TransactionTooHigh, check.TailNotZero}

// judge compares the result with the truth. seen is what a plain reader finds on the damaged
// device, ignoring damage to block 0.
func (s *Salvage) judge(c *Case, seen, out *Reading) {
	truth := c.Image.Truth
	whole := false
	for _, t := range c.truths() {
		n := t.Common(out)
		s.Saved, whole = max(s.Saved, n), whole || n == t.Mappings()
	}
	if !s.Claims || whole {
		return
	}
	if !c.Sealed || c.strict {
		s.Silent = true
		return
	}
	for id, t := range truth.Devices {
		if c.silent(id, without(t.pairs(), out.Devices[id].pairs()), seen, out.Devices[id]) {
			s.Silent = true
		}
	}
}

// silent reports whether mappings missing from a device after sealed damage are lost silently. They
// are not if the result keeps what a valid block in place says, or if such blocks say that nothing
// is mapped.
func (c *Case) silent(id metadata.DevID, gone []pair, seen *Reading, out *Device) bool {
	if len(gone) == 0 {
		return false
	}
	says, is := map[uint64]uint64{}, map[uint64]uint64{}
	if s := seen.Devices[id]; s != nil {
		for _, p := range s.parts { // including entries out of bounds
			for i, key := range p.leaf.keys {
				says[key] = p.leaf.values[i] >> 24
			}
		}
	}
	for _, p := range out.pairs() {
		is[p.thin] = p.data
	}
	for _, p := range gone {
		said, known := says[p.thin]
		made, mapped := is[p.thin]
		switch {
		case known && said == p.data: // it is still readable
			return true
		case known && mapped && said == made:
		case !known && !mapped && !seen.loses(id, p.thin):
		case c.forged(): // the evidence of the loss is itself wrong
		default:
			return true
		}
	}
	return false
}

// forged reports whether sealed damage has hit the counts of mappings: the device details, a space
// map, or the superblock that points to them.
func (c *Case) forged() bool {
	for nr, b := range c.changed {
		switch c.Image.Roles[nr] {
		case TopLevel, Mapping:
		default:
			if block.Verify(nr, b, block.KindOf(b)) == nil {
				return true
			}
		}
	}
	return false
}

// losesTop reports whether a part of the top level is unreadable.
func (r *Reading) losesTop() bool {
	return slices.ContainsFunc(r.Lost, func(l Lost) bool { return l.Role == TopLevel && !l.Held })
}

// loses reports whether a thin block of a device is in an unreadable part.
func (r *Reading) loses(id metadata.DevID, thin uint64) bool {
	return slices.ContainsFunc(r.Lost, func(l Lost) bool {
		switch l.Role {
		case TopLevel, Details:
			return !l.Held
		case Mapping:
			return !l.Held && slices.Contains(l.Devices, id) && thin >= l.Begin && (l.End == 0 || thin < l.End)
		}
		return false
	})
}

// compare requires that the report is true and nothing is invented.
func (s *Salvage) compare(c *Case, seen, out *Reading, said *claims) {
	truth := c.Image.Truth
	if s.Silent {
		s.wrong("it says that nothing is lost, but saves %d of %d mappings", s.Saved, truth.Mappings())
	}
	older := isOlder(said.state.mapping, truth.SB.MappingRoot) || isOlder(said.state.details, truth.SB.DetailsRoot)
	if older && slices.Contains(c.right, said.state) {
		older = false // it has the same content
	}
	named := said.state == state{seen.SB.MappingRoot, seen.SB.DetailsRoot}
	if older && !named && !said.choice {
		s.wrong("it followed the roots %d and %d, which are not those of the superblock, and does not say that it guessed", said.state.mapping, said.state.details)
	}
	for id := range out.Devices {
		if said.device(id) == nil {
			s.wrong("device %d is not in the report", id)
		}
	}
	for id, t := range truth.Devices {
		d := said.device(id)
		switch {
		case d != nil && older:
			s.checkCounts(d, out.Devices[id])
			s.invented(c, d, t.pairs(), out.Devices[id].pairs())
		case d != nil:
			s.device(c, d, t, out.Devices[id])
			if !c.Sealed && !seen.losesTop() {
				s.ranges(d, without(t.pairs(), out.Devices[id].pairs()))
			}
		case t.Mapped > 0 && !older && !c.Sealed:
			s.wrong("device %d is gone, and the report does not mention it", id)
		}
	}
}

// isOlder reports whether a report names a root other than the last one. Then the result is an
// older transaction and is only compared with that.
func isOlder(root, last block.Nr) bool { return root != 0 && root != last }

// checkCounts requires that the report counts the result for a device correctly and that its
// numbers add up.
func (s *Salvage) checkCounts(d *deviceClaims, out *Device) {
	if n := out.readable(); d.found() != n {
		s.wrong("device %d: %d mappings are said to be found, but there are %d", d.id, d.found(), n)
	}
	if d.known && d.expected != d.found()+d.lost {
		s.wrong("device %d: %d mappings are expected, but %d read, %d confirmed, %d guessed and %d lost do not add up to that", d.id, d.expected, d.read, d.confirmed, d.guessed, d.lost)
	}
}

// device compares the report about a device with the truth and the result.
func (s *Salvage) device(c *Case, d *deviceClaims, truth, out *Device) {
	s.checkCounts(d, out)
	was, is := truth.pairs(), out.pairs()
	if c.Sealed {
		s.invented(c, d, was, is)
		return
	}
	gone := uint64(len(without(was, is)))
	if d.known && d.expected != truth.Details.MappedBlocks {
		s.wrong("device %d: %d mappings are expected, but there were %d", d.id, d.expected, truth.Details.MappedBlocks)
	}
	if d.known && (d.lost+d.guessed < gone || d.guessed == 0 && d.lost != gone) {
		s.wrong("device %d: %d mappings are missing, but %d are said to be lost, %d guessed", d.id, gone, d.lost, d.guessed)
	}
}

// ranges requires that the report says where mappings are missing. If the top level is lost, that
// is unknown, because the root of the device may be a wrong one.
func (s *Salvage) ranges(d *deviceClaims, gone []pair) {
	for _, p := range gone {
		if !slices.ContainsFunc(d.ranges, func(r btree.KeyRange) bool { return r.Contains(p.thin, p.thin) }) {
			s.wrong("device %d: thin block %d is missing, but in none of the %d ranges that are said to be lost", d.id, p.thin, len(d.ranges))
			return
		}
	}
}

// invented requires that the result after sealed damage is true, or that some valid leaf on the
// device says or said so.
func (s *Salvage) invented(c *Case, d *deviceClaims, was, is []pair) {
	extra := without(is, was)
	if len(extra) == 0 {
		return
	}
	known := map[pair]bool{}
	add := func(nr block.Nr, b *block.Data) {
		if n, err := parse(nr, b, metadata.MappingSize); err == nil && n.leaf {
			for i := range n.keys {
				known[pair{n.keys[i], n.values[i] >> 24}] = true
			}
		}
	}
	for nr := range c.Image.blocks() {
		if b, err := c.read(nr); err == nil {
			add(nr, b)
		}
	}
	for nr := range c.changed { // a flipped bit can be corrected
		add(nr, c.original(nr))
	}
	for _, p := range extra {
		if !known[p] {
			s.wrong("device %d: thin block %d is said to lie in data block %d, but no leaf says so", d.id, p.thin, p.data)
			return
		}
	}
}

// A pair is a mapping without its time.
type pair struct{ thin, data uint64 }

// pairs returns the mappings of a device one by one; none for a nil device.
func (d *Device) pairs() []pair {
	if d == nil {
		return nil
	}
	pairs := make([]pair, 0, d.readable())
	for next := d.cursor(); ; {
		thin, data, ok := next()
		if !ok {
			return pairs
		}
		pairs = append(pairs, pair{thin, data})
	}
}

// without returns the pairs of a that are not in b. Both are sorted by thin block.
func without(a, b []pair) []pair {
	var out []pair
	for _, p := range a {
		for len(b) > 0 && b[0].thin < p.thin {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != p {
			out = append(out, p)
		}
	}
	return out
}
