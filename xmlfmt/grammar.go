package xmlfmt

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"thinpool/metadata"
)

// batchRuns is the number of runs passed to the visitor at a time.
const batchRuns = 4096

// grammar turns tags into calls of a visitor. It handles the tags from both parsers.
type grammar struct {
	v        metadata.Visitor
	valid    metadata.Validator
	opt      Options
	within   element // innermost open element, except leafOpen
	leafOpen string  // an open element that cannot have content; "" if none
	inDef    bool
	seen     bool // the superblock was read
	batch    []metadata.Run
}

// An element is a position in the structure of the description.
type element int

const (
	outside element = iota
	inSuperblock
	inContent // of a def or device
)

// contentAllowed reports whether mappings are allowed here.
func (g *grammar) contentAllowed() bool { return g.within == inContent && g.leafOpen == "" }

// done reports whether the description is complete.
func (g *grammar) done() bool { return g.seen && g.within == outside && g.leafOpen == "" }

// tag handles a tag from either parser.
func (g *grammar) tag(t tag) error {
	if t.kind != endTag {
		if err := g.start(t); err != nil {
			return err
		}
	}
	if t.kind != startTag {
		return g.end(t.name)
	}
	return nil
}

func (g *grammar) start(t tag) error {
	if g.leafOpen != "" {
		return fmt.Errorf("<%s> must be empty", g.leafOpen)
	}
	allowed := outside
	switch t.name {
	case "superblock":
	case "def", "device":
		allowed = inSuperblock
	case "ref", "single_mapping", "range_mapping":
		allowed = inContent
	default:
		return errors.New("unknown element")
	}
	switch {
	case g.done():
		return errors.New("nothing may follow the end of the superblock")
	case allowed != g.within:
		return fmt.Errorf("misplaced: want %s", [...]string{"<superblock>", "<def>, <device> or </superblock>", "a mapping, <ref> or the end of the element"}[g.within])
	}
	a := attributes{tag: &t}
	switch t.name {
	case "superblock":
		return g.superblock(&a)
	case "def":
		return g.def(&a)
	case "device":
		return g.device(&a)
	case "ref":
		return g.ref(&a)
	case "single_mapping":
		return g.mapping(&a, "origin_block", "data_block", "")
	}
	return g.mapping(&a, "origin_begin", "data_begin", "length")
}

func (g *grammar) end(name string) error {
	switch open := g.open(); {
	case open == "":
		return fmt.Errorf("</%s> without its start", shorten(name))
	case name != open:
		return fmt.Errorf("</%s> instead of </%s>", shorten(name), open)
	case name == "superblock":
		g.within = outside // tell the visitor after checking that nothing wrong follows
		return nil
	case g.leafOpen != "":
		g.leafOpen = ""
		return nil
	}
	g.within = inSuperblock
	if err := g.flush(); err != nil {
		return err
	}
	if g.inDef {
		return errors.Join(g.valid.EndDef(), g.v.EndDef())
	}
	g.valid.EndDevice()
	return g.v.EndDevice()
}

// open returns the name of the innermost open element, "" if there is none.
func (g *grammar) open() string {
	switch {
	case g.leafOpen != "":
		return g.leafOpen
	case g.within == inContent && g.inDef:
		return "def"
	case g.within == inContent:
		return "device"
	case g.within == inSuperblock:
		return "superblock"
	}
	return ""
}

func (g *grammar) superblock(a *attributes) error {
	h := metadata.Header{
		Time:          a.uint32("time"),
		TransactionID: a.uint64("transaction"),
		Flags:         uint32(a.optional("flags", 32, 0)),
		Version:       uint32(a.optional("version", 32, metadata.Version)),
		DataBlockSize: a.uint32("data_block_size"),
		NrDataBlocks:  a.uint64("nr_data_blocks"),
	}
	if uuid, ok := a.take("uuid"); ok {
		if len(uuid) > len(h.UUID) {
			return fmt.Errorf("uuid has %d bytes, want at most %d", len(uuid), len(h.UUID))
		}
		copy(h.UUID[:], uuid)
	}
	if snap := a.optional("metadata_snap", 64, 0); snap != 0 && g.opt.Note != nil {
		g.opt.Note(fmt.Sprintf("metadata_snap=\"%d\" is ignored: a metadata snapshot cannot be restored", snap))
	}
	if err := a.err(); err != nil {
		return err
	}
	if err := g.opt.Overrides.Apply(&h); err != nil {
		return err
	}
	if err := g.valid.Begin(h); err != nil {
		return err
	}
	g.within, g.seen = inSuperblock, true
	return g.v.Begin(h)
}

func (g *grammar) def(a *attributes) error {
	name := a.name()
	if err := a.err(); err != nil {
		return err
	}
	if err := g.valid.BeginDef(name); err != nil {
		return err
	}
	g.within, g.inDef = inContent, true
	return g.v.BeginDef(name)
}

func (g *grammar) device(a *attributes) error {
	id := metadata.DevID(a.uint32("dev_id"))
	d := metadata.Details{
		MappedBlocks:    a.uint64("mapped_blocks"),
		TransactionID:   a.uint64("transaction"),
		CreationTime:    a.uint32("creation_time"),
		SnapshottedTime: a.uint32("snap_time"),
	}
	if err := a.err(); err != nil {
		return err
	}
	if err := g.valid.BeginDevice(id, d); err != nil {
		return err
	}
	g.within, g.inDef = inContent, false
	return g.v.BeginDevice(id, d)
}

func (g *grammar) ref(a *attributes) error {
	name := a.name()
	if err := a.err(); err != nil {
		return err
	}
	if g.inDef {
		return errors.New("a def cannot refer to another")
	}
	if err := g.valid.Ref(name); err != nil {
		return err
	}
	if err := g.flush(); err != nil {
		return err
	}
	g.leafOpen = "ref"
	return g.v.Ref(name)
}

func (g *grammar) mapping(a *attributes, thin, data, length string) error {
	r := metadata.Run{Thin: metadata.ThinBlock(a.uint64(thin)), Data: metadata.DataBlock(a.uint64(data)), Len: 1}
	if length != "" {
		r.Len = a.uint64(length)
	}
	r.Time = a.uint32("time")
	if err := a.err(); err != nil {
		return err
	}
	g.leafOpen = a.tag.name
	return g.run(r)
}

// run handles a mapping, which must be allowed here.
func (g *grammar) run(r metadata.Run) error {
	if err := g.valid.Run(r); err != nil {
		return err
	}
	if r.Len == 0 {
		return nil
	}
	g.batch = append(g.batch, r)
	if len(g.batch) == batchRuns {
		return g.flush()
	}
	return nil
}

func (g *grammar) flush() error {
	if len(g.batch) == 0 {
		return nil
	}
	err := g.v.Runs(g.batch)
	g.batch = g.batch[:0]
	return err
}

// attributes reads the attributes of a tag one by one and keeps the first error.
type attributes struct {
	tag   *tag
	taken [8]bool // more than any element has
	first error
}

func (a *attributes) fail(format string, args ...any) {
	if a.first == nil {
		a.first = fmt.Errorf(format, args...)
	}
}

// take returns the value of the named attribute, if present.
func (a *attributes) take(name string) (string, bool) {
	value, found := "", false
	for i, at := range a.tag.attrs {
		if at.name != name {
			continue
		}
		if found {
			a.fail("attribute %s appears twice", name)
		}
		value, found = at.value, true
		if i < len(a.taken) {
			a.taken[i] = true
		}
	}
	return value, found
}

func (a *attributes) string(name string) string {
	value, ok := a.take(name)
	if !ok {
		a.fail("attribute %s is missing", name)
	}
	return value
}

// name reads the name of a def. Programs use a block number.
func (a *attributes) name() string {
	const longest = 255
	name := a.string("name")
	if len(name) > longest {
		a.fail("attribute name has %d bytes, want at most %d", len(name), longest)
	}
	return name
}

func (a *attributes) uint64(name string) uint64 { return a.number(name, a.string(name), 64) }
func (a *attributes) uint32(name string) uint32 { return uint32(a.number(name, a.string(name), 32)) }

func (a *attributes) optional(name string, bits int, or uint64) uint64 {
	if value, ok := a.take(name); ok {
		return a.number(name, value, bits)
	}
	return or
}

func (a *attributes) number(name, value string, bits int) uint64 {
	v, err := strconv.ParseUint(value, 10, bits)
	if err != nil && a.first == nil {
		a.fail("attribute %s is %q, want a decimal number of at most %d bits", name, shorten(value), bits)
	}
	return v
}

// err returns the first error; an unused attribute is an error.
func (a *attributes) err() error {
	for i, at := range a.tag.attrs {
		if i >= len(a.taken) || !a.taken[i] {
			a.fail("unknown attribute %s", shorten(at.name))
		}
	}
	return a.first
}

// shorten keeps hostile input from filling the screen.
func shorten(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
