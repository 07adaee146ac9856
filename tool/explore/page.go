package explore

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A tree is the part of the metadata a block belongs to, according to the path that leads there.
type tree uint8

const (
	noTree tree = iota
	superblocks
	topLevel
	details
	mappings
	dataIndex
	dataBitmaps
	dataCounts
	metaIndex
	metaBitmaps
	metaCounts
)

var treeNames = [...]string{
	"no known tree", "superblock", "top level", "device details", "mappings",
	"index of the data space map", "bitmap of the data space map", "overflow tree of the data space map",
	"index of the metadata space map", "bitmap of the metadata space map", "overflow tree of the metadata space map",
}

func (t tree) String() string { return treeNames[t] }

// keyNames names the keys of each tree.
var keyNames = [...]string{"key", "key", "device", "device", "thin", "bitmap", "data block", "data block", "bitmap", "block", "block"}

// leaves gives the kind of leaf of each tree.
var leaves = [...]survey.Kind{
	topLevel: survey.TopLeaf, details: survey.DetailsLeaf, mappings: survey.MappingLeaf,
	dataIndex: survey.IndexLeaf, dataCounts: survey.CountLeaf, metaCounts: survey.CountLeaf,
}

// ofKind guesses the tree of a block of unknown origin from its kind.
var ofKind = [...]tree{
	survey.Superblock: superblocks, survey.TopLeaf: topLevel, survey.DetailsLeaf: details, survey.MappingLeaf: mappings,
	survey.IndexLeaf: dataIndex, survey.Index: metaIndex, survey.CountLeaf: noTree, // the last kind
}

// A place is a block, and what the path to it says about it.
type place struct {
	nr   block.Nr
	tree tree
	keys metadata.KeyRange // keys its parents leave to it
	dev  *metadata.DevID   // the device whose mappings it has
	num  uint64            // number of a bitmap
	top  block.Nr          // the superblock the path begins at
}

// at returns a place of which only the block is known.
func at(nr block.Nr) place { return place{nr: nr, keys: btree.AllKeys} }

// A dataRun is a run of data blocks.
type dataRun struct {
	first metadata.DataBlock
	n     uint64
}

// A row is a line of a page.
type row struct {
	text  string   // columns, separated by tabs
	about []string // for the side pane
	bad   bool
	to    *place // opened by Enter; nil: nothing
	run   func(Model) (Model, Effects)
	// What the row is about, for keys that ask for more.
	key  *uint64
	data *dataRun
}

// A page is the content of the list.
type page struct {
	title  string
	place  *place   // of the block it shows; nil: it is a list
	block  *content // likewise
	hex    bool     // show the bytes of the block
	notes  []string // for the side pane; damage begins with "!"
	rows   []row
	none   string // shown if there are no rows
	cursor int
	first  int  // first visible row
	judged bool // the blocks that the rows lead to were checked
}

// align lines up the columns of the rows. The last column takes what it needs.
func (p *page) align() {
	var widths []int
	for i := range p.rows {
		cells := strings.Split(p.rows[i].text, "\t")
		for j, cell := range cells[:len(cells)-1] {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	for i := range p.rows {
		var text strings.Builder
		cells := strings.Split(p.rows[i].text, "\t")
		for j, cell := range cells[:len(cells)-1] {
			fmt.Fprintf(&text, "%-*s  ", widths[j], cell)
		}
		text.WriteString(cells[len(cells)-1])
		p.rows[i].text = text.String()
	}
}

// plural formats a count with its noun.
func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (p *page) selected() *row {
	if p.cursor < 0 || p.cursor >= len(p.rows) {
		return nil
	}
	return &p.rows[p.cursor]
}

// scroll keeps the cursor among the height visible rows.
func (p *page) scroll(height int) {
	p.first = max(min(p.first, p.cursor, len(p.rows)-height), p.cursor-height+1, 0)
}

// selectKey moves the cursor to the row that has a key or leads to it.
func (p *page) selectKey(key uint64) {
	for i := range p.rows {
		if k := p.rows[i].key; k != nil && *k <= key {
			p.cursor = i
		}
	}
}

// selectBlock moves the cursor to the row that leads to a block, and returns its place, or nil.
func (p *page) selectBlock(nr block.Nr) *place {
	for i := range p.rows {
		if to := p.rows[i].to; to != nil && to.nr == nr {
			p.cursor = i
			return to
		}
	}
	return nil
}

// find moves the cursor to the next row that contains text, or with a negative step to the previous one.
func (p *page) find(text string, step int) bool {
	n := len(p.rows)
	text = strings.ToLower(text)
	for i := 1; i <= n; i++ {
		at := ((p.cursor+i*step)%n + n) % n
		r := &p.rows[at]
		if strings.Contains(strings.ToLower(r.text), text) || strings.Contains(strings.ToLower(strings.Join(r.about, "\n")), text) {
			p.cursor = at
			return true
		}
	}
	return false
}

// A namer returns the name of a device.
type namer func(metadata.DevID) string

func (n namer) label(id metadata.DevID) string {
	if n == nil {
		return metadata.Label(id, "")
	}
	return metadata.Label(id, n(id))
}

// blockPage returns the page of a block at a place.
func blockPage(opt *Options, limit block.Nr, at place, c *content) page {
	p := page{place: &at, block: c, notes: c.summary()}
	b := builder{opt: opt, limit: limit, page: &p, at: at, c: c, name: opt.Name}
	if at.tree == noTree {
		b.at.tree = ofKind[c.kind]
	}
	switch {
	case c.raw == nil:
		p.none = "the block cannot be read"
	case c.kind == survey.Superblock:
		b.superblock()
	case c.isNode && c.node.Leaf():
		b.leaf()
	case c.isNode:
		b.inner()
	case c.kind == survey.Index:
		b.index()
	case c.kind == survey.Bitmap:
		b.bitmap()
	case c.kind == survey.Empty:
		p.none = "all zero: x shows the bytes"
	default:
		p.none = "the block makes no sense: x shows its bytes"
	}
	p.title = b.title()
	if why := b.surprise(); why != "" {
		p.notes = slices.Insert(p.notes, 1, "! "+why)
	}
	p.place = &b.at
	p.align()
	return p
}

// A builder makes the page of a block.
type builder struct {
	opt   *Options
	limit block.Nr
	page  *page
	at    place
	c     *content
	name  namer
}

// title says what the block is in its tree.
func (b *builder) title() string {
	c := b.c
	switch {
	case c.kind == survey.Superblock || b.at.tree == noTree:
		return fmt.Sprintf("%s, block %d", c.kindName(), c.nr)
	case c.kind == survey.Bitmap && b.at.tree != noTree:
		return fmt.Sprintf("%s, block %d", b.at.tree, c.nr)
	}
	name := b.at.tree.String()
	if b.at.dev != nil {
		name += " of " + b.name.label(*b.at.dev)
	}
	what := c.kindName()
	switch {
	case c.isNode && c.node.Leaf():
		what = "leaf"
	case c.isNode:
		what = "inner node"
	}
	return fmt.Sprintf("%s: %s, block %d", name, what, c.nr)
}

// surprise says how the block differs from what the path leads one to expect.
func (b *builder) surprise() string {
	c, want := b.c, ""
	switch t := b.at.tree; {
	case c.raw == nil || t == noTree || t == superblocks && c.kind == survey.Superblock:
	case t == dataBitmaps || t == metaBitmaps:
		want = otherThan(c.kind, survey.Bitmap, "a bitmap")
	case t == metaIndex:
		want = otherThan(c.kind, survey.Index, "the index block")
	case t == superblocks:
		want = "a superblock"
	case c.kind != survey.Inner && c.kind != leaves[t] && !c.mayBeLeaf(t):
		want = "a node of the " + t.String()
	case c.isNode && c.node.Len() > 0:
		if err := b.at.keys.CheckBounds(c.nr, 0, c.node.Key(0), c.node.Key(c.node.Len()-1)); err != nil {
			return fmt.Sprintf("its keys are not all among %s, which its parent leaves to it", keyText(b.at.keys))
		}
	}
	if want == "" {
		return ""
	}
	return "this should be " + want
}

// mayBeLeaf reports whether a leaf with values of 8 bytes can belong to a tree. The values are a guess.
func (c *content) mayBeLeaf(t tree) bool {
	return t == mappings && c.kind == survey.TopLeaf || t == topLevel && c.kind == survey.MappingLeaf && c.node.Len() == 0
}

func otherThan(is, want survey.Kind, name string) string {
	if is == want {
		return ""
	}
	return name
}

func keyText(r metadata.KeyRange) string {
	if r.Open() {
		return fmt.Sprintf("%d and up", r.First)
	}
	return fmt.Sprintf("%d..%d", r.First, r.Last)
}

// child returns the place that an entry with these keys leads to.
func (b *builder) child(nr block.Nr, t tree, keys metadata.KeyRange) *place {
	return &place{nr: nr, tree: t, keys: keys, dev: b.at.dev, top: b.at.top}
}

func (b *builder) add(r row) {
	if r.to != nil && (r.to.nr == 0 || r.to.nr >= b.limit) {
		r.about = append(r.about, fmt.Sprintf("! block %d is not a block of the metadata, which has %d", r.to.nr, b.limit))
		r.to, r.bad = nil, true
	}
	b.page.rows = append(b.page.rows, r)
}

// inner shows the entries of an internal node.
func (b *builder) inner() {
	n, name := b.c.node, keyNames[b.at.tree]
	for i := range n.Len() {
		key := n.Key(i)
		keys := n.ChildRange(i, b.at.keys)
		nr := block.Nr(n.Uint64(i))
		b.add(row{
			text:  fmt.Sprintf("%s %s\t> block %d", name, keyText(keys), nr),
			about: []string{fmt.Sprintf("entry %d: key %d, block %d", i, key, nr)},
			to:    b.child(nr, b.at.tree, keys), key: &key, bad: keys.Empty(),
		})
	}
}
