package damage

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// A Case is a damaged image.
type Case struct {
	Image  *Image
	Number int // [Image.Case] recreates the case from it
	Kind   string
	What   string     // description
	Blocks []block.Nr // damaged blocks, ascending
	Sealed bool       // some damaged blocks have a valid checksum and self reference

	composed bool // of a composed kind
	// question means that a repair has to choose between states of the pool. Those in right have
	// the content of Image, or an equally good one.
	question bool
	right    []state
	also     []*Reading // other truths, as good as that of Image
	against  *Reading   // if not nil, the state the superblock now leads to; sound if it matches this
	kept     bool       // all mappings can be saved,
	certain  bool       // and a report can say so
	sharing  bool       // sharing between devices must be preserved
	strict   bool       // a claim that nothing is lost must be true, sealed or not

	changed map[block.Nr]*block.Data
	failing map[block.Nr]bool
	size    int64
}

// A kind is a way to damage one block.
type kind struct {
	name string
	// hurt damages b, block nr of the case, and returns a description, or "" if this block cannot
	// be damaged this way.
	hurt   func(c *Case, nr block.Nr, b *block.Data, rnd *rand.Rand) string
	sealed bool
}

// kinds lists the kinds of damage to single blocks.
var kinds = []kind{
	{"zeroed", zero, false},
	{"one bit flipped", flip, false},
	{"one bit flipped, sealed", flip, true},
	{"bytes scribbled", scribble, false},
	{"bytes scribbled, sealed", scribble, true},
	{"another block in its place", replace, false},
	{"another block in its place, sealed", replace, true},
	{"older version of itself, sealed", older, true},
	{"cut off at a sector", cutOff, false},
	{"unreadable", unreadable, false},
}

// Kinds of damage to several blocks.
const (
	kindPair      = "two blocks"
	kindSome      = "3 to 20 blocks"
	kindTruncated = "device truncated"
)

func zero(_ *Case, _ block.Nr, b *block.Data, _ *rand.Rand) string {
	*b = block.Data{}
	return "zeroed"
}

// usedBytes returns how many bytes of b to damage: those with a meaning or, rarely, all.
func usedBytes(b *block.Data, rnd *rand.Rand) int {
	if block.KindOf(b) != block.Node || rnd.IntN(8) == 0 {
		return block.Size
	}
	return min(block.Size, 32+int(le.Uint32(b[20:]))*8+int(le.Uint32(b[16:]))*int(le.Uint32(b[24:])))
}

func flip(_ *Case, _ block.Nr, b *block.Data, rnd *rand.Rand) string {
	at, bit := 4+rnd.IntN(usedBytes(b, rnd)-4), rnd.IntN(8)
	if block.KindOf(b) == block.Superblock {
		at = 4 + rnd.IntN(360) // the part with a meaning
	}
	b[at] ^= 1 << bit
	return fmt.Sprintf("bit %d of byte %#x flipped", bit, at)
}

func scribble(_ *Case, _ block.Nr, b *block.Data, rnd *rand.Rand) string {
	n := 2 + rnd.IntN(64)
	at := 4 + rnd.IntN(usedBytes(b, rnd)-4)
	end := min(at+n, block.Size)
	for i := at; i < end; i++ {
		b[i] ^= byte(1 + rnd.IntN(255))
	}
	return fmt.Sprintf("bytes %#x..%#x scribbled", at, end-1)
}

func replace(c *Case, nr block.Nr, b *block.Data, rnd *rand.Rand) string {
	used := c.Image.Used
	other := used[rnd.IntN(len(used))]
	if other == nr {
		return ""
	}
	*b = *c.original(other)
	return fmt.Sprintf("replaced by block %d", other)
}

// older replaces a node with an old version of it: an unused node of the same kind with overlapping
// keys.
func older(c *Case, nr block.Nr, b *block.Data, _ *rand.Rand) string {
	if block.KindOf(b) != block.Node {
		return ""
	}
	best, most := block.Nr(0), uint64(0)
	for _, free := range c.Image.free {
		if n := likeness(b, c.original(free)); n > most {
			best, most = free, n
		}
	}
	if most == 0 {
		return ""
	}
	*b = *c.original(best)
	return fmt.Sprintf("replaced by an older version, block %d", best)
}

// likeness counts the keys that two nodes of the same kind share; 0 if the nodes are equal.
func likeness(a, b *block.Data) uint64 {
	if !slices.Equal(a[4:8], b[4:8]) || !slices.Equal(a[24:28], b[24:28]) {
		return 0
	}
	keys := func(b *block.Data) []uint64 {
		out := make([]uint64, min(le.Uint32(b[16:]), 508))
		for i := range out {
			out[i] = le.Uint64(b[32+8*i:])
		}
		return out
	}
	x, y := keys(a), keys(b)
	n := uint64(0)
	for _, k := range x {
		if _, ok := slices.BinarySearch(y, k); ok {
			n++
		}
	}
	if slices.Equal(a[16:], b[16:]) {
		return 0
	}
	return n
}

func cutOff(_ *Case, _ block.Nr, b *block.Data, rnd *rand.Rand) string {
	const sector = block.SectorSize
	at := sector * (1 + rnd.IntN(block.Size/sector-1))
	if !slices.ContainsFunc(b[at:], func(x byte) bool { return x != 0 }) {
		at = sector / 2 // nothing but zeros follows
	}
	clear(b[at:])
	return fmt.Sprintf("cut off at byte %#x", at)
}

func unreadable(c *Case, nr block.Nr, _ *block.Data, _ *rand.Rand) string {
	c.failing[nr] = true
	return "unreadable"
}

func (im *Image) newCase(kind string) *Case {
	return &Case{
		Image: im, Kind: kind, size: int64(len(im.Content)),
		changed: map[block.Nr]*block.Data{}, failing: map[block.Nr]bool{},
	}
}

// original returns block nr without damage.
func (c *Case) original(nr block.Nr) *block.Data { return c.Image.original(nr) }

// hurt damages block nr. It returns false if the block cannot be damaged this way.
func (c *Case) hurt(k kind, nr block.Nr, rnd *rand.Rand) bool {
	was := c.original(nr)
	b := *was
	what := k.hurt(c, nr, &b, rnd)
	if what == "" {
		return false
	}
	if k.sealed {
		kind := block.KindOf(&b) // of the other block, if there is one
		if kind == block.UnknownKind {
			kind = block.KindOf(was)
		}
		block.Seal(nr, &b, kind)
		c.Sealed = true
	}
	if b == *was && !c.failing[nr] {
		return false
	}
	c.changed[nr] = &b
	c.Blocks = append(c.Blocks, nr)
	slices.Sort(c.Blocks)
	if c.What != "" {
		c.What += "; "
	}
	c.What += fmt.Sprintf("block %d (%v) %s", nr, c.Image.Roles[nr], what)
	if k.sealed {
		c.What += " and sealed"
	}
	return true
}

// single damages block nr in one way; nil if it cannot be damaged that way.
func (im *Image) single(k kind, nr block.Nr, rnd *rand.Rand) *Case {
	c := im.newCase(k.name)
	if !c.hurt(k, nr, rnd) {
		return nil
	}
	return c
}

// several damages n used blocks, each in a different way.
func (im *Image) several(name string, n int, rnd *rand.Rand) *Case {
	c := im.newCase(name)
	for _, i := range rnd.Perm(len(im.Used))[:min(n, len(im.Used))] {
		for !c.hurt(kinds[rnd.IntN(len(kinds))], im.Used[i], rnd) {
		}
	}
	return c
}

// truncated truncates the device.
func (im *Image) truncated(rnd *rand.Rand) *Case {
	c := im.newCase(kindTruncated)
	last := int64(im.Used[len(im.Used)-1]+1) * block.Size // most devices are empty beyond that
	size := block.Size + rnd.Int64N(last-block.Size)
	if rnd.IntN(2) == 0 {
		size -= size % block.Size
	}
	c.cut(size)
	return c
}

// cut truncates the device to size.
func (c *Case) cut(size int64) {
	c.size = size
	c.What = fmt.Sprintf("cut to %d bytes", size)
	for _, nr := range c.Image.Used {
		if int64(nr+1)*block.Size > size {
			c.Blocks = append(c.Blocks, nr)
		}
	}
}

func (c *Case) String() string {
	return fmt.Sprintf("%s, case %d, %s: %s", c.Image.Name, c.Number, c.Kind, c.What)
}

// read returns a block as read from the damaged device.
func (c *Case) read(nr block.Nr) (*block.Data, error) {
	switch b := c.changed[nr]; {
	case int64(nr+1)*block.Size > c.size:
		return nil, io.ErrUnexpectedEOF
	case c.failing[nr]:
		return nil, blocktest.ErrFailed
	case b != nil:
		return b, nil
	}
	return c.original(nr), nil
}

// reading returns what a plain reader finds on the damaged device.
func (c *Case) reading() *Reading {
	r := newReader(c.Image, c.read)
	r.same = func(nr block.Nr) bool {
		return c.changed[nr] == nil && !c.failing[nr] && int64(nr+1)*block.Size <= c.size
	}
	return r.all()
}

// withSuperblock returns the case without the damage to block 0.
func (c *Case) withSuperblock() *Case {
	d := *c
	d.changed, d.failing, d.size = maps.Clone(c.changed), maps.Clone(c.failing), max(c.size, block.Size)
	delete(d.changed, metadata.SuperblockLocation)
	delete(d.failing, metadata.SuperblockLocation)
	return &d
}

// Contents returns the damaged image as a file, with zeros for what is unreadable.
func (c *Case) Contents() []byte {
	p := slices.Clone(c.Image.Content[:c.size])
	for nr, b := range c.changed {
		if int64(nr) < c.size/block.Size {
			copy(p[nr*block.Size:], b[:])
		}
	}
	for nr := range c.failing {
		clear(p[nr*block.Size:][:block.Size])
	}
	return p
}

// A device presents a case to the tools, which may not write to it.
type device struct{ c *Case }

func (d device) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, d.c.Image.Content[min(off, d.c.size):d.c.size])
	for nr := block.Nr(off / block.Size); int64(nr)*block.Size < off+int64(n); nr++ {
		if d.c.failing[nr] {
			return 0, blocktest.ErrFailed
		}
		if b := d.c.changed[nr]; b != nil {
			copy(p[int64(nr)*block.Size-off:n], b[:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d device) WriteAt([]byte, int64) (int, error) { panic("lab: a tool writes to its input") }

func (d device) Flush() error { panic("lab: a tool flushes its input") }

func (d device) Size() int64 { return d.c.size }

func (d device) Close() error { return nil }

// Cases yields the cases of an image in an order chosen by the seed: each used block damaged in
// each way, and in between sets of blocks and truncations. Every third case is of a composed kind.
// If kind is not empty, only that kind is used.
func (im *Image) Cases(seed uint64, kind string) iter.Seq[*Case] {
	return func(yield func(*Case) bool) {
		rnd := rand.New(rand.NewPCG(seed, uint64(len(im.Name))))
		single, made := rnd.Perm(len(kinds)*len(im.Used)*13/10), im.composedCases(kind, rnd)
		for n := 0; len(single)+len(made) > 0; n++ {
			from := &single
			if len(single) == 0 || n%3 == 2 && len(made) > 0 {
				from = &made
			}
			nr := (*from)[0]
			*from = (*from)[1:]
			if kind != "" && nr < firstComposed && !slices.Contains(im.kindsOf(nr), kind) {
				continue
			}
			if c := im.Case(seed, nr); c != nil && (kind == "" || c.Kind == kind) && !yield(c) {
				return
			}
		}
	}
}

// Numbers of composed cases start at multiples of this.
const firstComposed = 1 << 20

// composedCases returns the numbers of the composed cases of a kind, or of all. It alternates
// between kinds, so that each occurs often enough.
func (im *Image) composedCases(kind string, rnd *rand.Rand) []int {
	var left [][]int
	for i := range composedKinds {
		k := &composedKinds[i]
		if kind != "" && !slices.Contains(k.names, kind) {
			continue
		}
		numbers := rnd.Perm(k.cases(im))
		if kind != "" && k.name != nil {
			numbers = slices.DeleteFunc(numbers, func(i int) bool { return k.name(im, i) != kind })
		}
		for at := range numbers {
			numbers[at] += (i + 1) * firstComposed
		}
		left = append(left, numbers)
	}
	var all []int
	for more := true; more; {
		more = false
		for _, i := range rnd.Perm(len(left)) {
			if len(left[i]) > 0 {
				all = append(all, left[i][0])
				left[i] = left[i][1:]
				more = true
			}
		}
	}
	return all
}

// kindsOf returns the possible kinds of a case that is not composed.
func (im *Image) kindsOf(nr int) []string {
	if singles := len(kinds) * len(im.Used); nr >= singles {
		return []string{[...]string{kindPair, kindSome, kindTruncated}[nr%3]}
	}
	return []string{kinds[nr%len(kinds)].name}
}

// Case returns one of the cases, independent of all others; nil if there is no such case.
func (im *Image) Case(seed uint64, nr int) *Case {
	rnd := rand.New(rand.NewPCG(seed, uint64(nr)))
	var c *Case
	switch singles := len(kinds) * len(im.Used); {
	case nr >= firstComposed:
		c = im.compose(nr/firstComposed-1, nr%firstComposed, rnd)
	case nr < singles:
		c = im.single(kinds[nr%len(kinds)], im.Used[nr/len(kinds)], rnd)
	case nr%3 == 0:
		c = im.several(kindPair, 2, rnd)
	case nr%3 == 1:
		c = im.several(kindSome, 3+rnd.IntN(18), rnd)
	default:
		c = im.truncated(rnd)
	}
	if c != nil {
		c.Number = nr
	}
	return c
}

// compose creates case i of a composed kind.
func (im *Image) compose(kind, i int, rnd *rand.Rand) *Case {
	if kind >= len(composedKinds) || i >= composedKinds[kind].cases(im) {
		return nil
	}
	c, err := composedKinds[kind].make(im, i, rnd)
	if err != nil {
		panic("lab: " + err.Error()) // the histories are part of the program
	}
	if c != nil {
		c.composed = true
	}
	return c
}

// rows returns the kinds in table order.
func rows() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	names = append(names, kindPair, kindSome, kindTruncated)
	for _, k := range composedKinds {
		names = append(names, k.names...)
	}
	return names
}

// short truncates a text for messages.
func short(s string) string {
	const most = 400
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
