package explore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

var le = binary.LittleEndian

// A field is a range of bytes with one meaning.
type field struct {
	at, n int
	name  string
	value func(p []byte) string
	to    func(p []byte) block.Nr // the block it points to; nil: not a pointer
}

// number formats a field of 4 or 8 bytes.
func number(p []byte) string { return fmt.Sprint(uintOf(p)) }

func hexNumber(p []byte) string { return fmt.Sprintf("%#x", uintOf(p)) }

func uintOf(p []byte) uint64 {
	if len(p) == 4 {
		return uint64(le.Uint32(p))
	}
	return le.Uint64(p)
}

func pointer(p []byte) block.Nr { return block.Nr(le.Uint64(p)) }

// hexPage shows the bytes of a block as they are on the device, with the names of the fields.
func hexPage(from *page, limit block.Nr) page {
	c := from.block
	p := page{title: fmt.Sprintf("bytes of block %d (%s)", c.nr, c.kindName()), place: from.place, block: c, hex: true, notes: c.summary()}
	if c.raw == nil {
		p.none = "the block cannot be read"
		return p
	}
	for _, f := range c.fields(from.place) {
		b := c.raw[f.at : f.at+f.n]
		r := row{text: fmt.Sprintf("%04x  %-23s  ", f.at, fmt.Sprintf("% x", b[:min(f.n, 8)])), about: []string{fmt.Sprintf("bytes %d..%d", f.at, f.at+f.n-1), fmt.Sprintf("byte %d of the device", uint64(c.nr)*block.Size+uint64(f.at))}}
		switch {
		case f.name == "":
			r.text = fmt.Sprintf("%04x  %-47s  %s", f.at, fmt.Sprintf("% x", b), visible(b))
		case f.value == nil:
			r.text = fmt.Sprintf("%04x  %-23s  %s", f.at, fmt.Sprintf("%d bytes", f.n), f.name)
		default:
			r.text += strings.TrimRight(fmt.Sprintf("%-22s %s", f.name, f.value(b)), " ")
		}
		if f.to != nil {
			if nr := f.to(b); nr > 0 && nr < limit {
				to := at(nr)
				to.top = from.place.top
				r.to = &to
			}
		}
		if d := c.correction; d != nil && d.Byte >= f.at && d.Byte < f.at+f.n {
			r.bad = true
			r.about = append(r.about, "! "+d.String())
		}
		p.rows = append(p.rows, r)
	}
	return p
}

// visible returns bytes as text, with dots for what ASCII cannot show.
func visible(b []byte) string {
	text := make([]byte, len(b))
	for i, c := range b {
		text[i] = '.'
		if c >= ' ' && c <= '~' {
			text[i] = c
		}
	}
	return string(text)
}

// fields covers all bytes of the block, in order.
func (c *content) fields(from *place) []field {
	var named []field
	switch {
	case c.isNode:
		named = c.nodeFields(from)
	case c.kind == survey.Superblock:
		named = c.superblockFields()
	case c.kind == survey.Index:
		named = append(c.head(4, "padding"), entryFields(16, spacemap.IndexEntries(c.raw))...)
	case c.kind == survey.Bitmap:
		named = c.head(4, "unused")
		for i := 16; i < block.Size; i += 8 {
			first := (i-16)*4 + int(from.num)*spacemap.PerBitmap
			named = append(named, field{at: i, n: 8, name: fmt.Sprintf("%d..%d", first, first+31), value: twoBits})
		}
	}
	return rest(c.raw, named)
}

// twoBits formats 32 counts.
func twoBits(p []byte) string {
	var s strings.Builder
	for i := range 32 {
		two := p[i/4] >> (i % 4 * 2)
		s.WriteByte('0' + two&1<<1 + two>>1&1)
	}
	return s.String()
}

// head returns the fields at the start of every block.
func (c *content) head(n int, name string) []field {
	sum := func(p []byte) string {
		if c.correction == nil && !c.asItStands {
			return hexNumber(p) + ", right"
		}
		return hexNumber(p) + ", wrong"
	}
	return []field{
		{at: 0, n: 4, name: "checksum", value: sum},
		{at: 4, n: n, name: name, value: hexNumber},
		{at: 8, n: 8, name: "blocknr", value: number},
	}
}

func (c *content) nodeFields(from *place) []field {
	fields := append(c.head(4, "flags"),
		field{at: 16, n: 4, name: "nr_entries", value: number}, field{at: 20, n: 4, name: "max_entries", value: number},
		field{at: 24, n: 4, name: "value_size", value: number}, field{at: 28, n: 4, name: "padding", value: number},
	)
	fields[1].value = func(p []byte) string {
		return hexNumber(p) + map[uint64]string{1: ", internal", 2: ", leaf"}[uintOf(p)]
	}
	n := c.node
	for i := range n.Len() {
		fields = append(fields, field{at: btree.HeaderSize + 8*i, n: 8, name: fmt.Sprintf("key %d", i), value: number})
	}
	values := btree.HeaderSize + 8*n.Cap()
	for i := range n.Len() {
		at, name := values+n.ValueSize()*i, fmt.Sprintf("value %d", i)
		switch kind := c.kind; {
		case kind == survey.Inner || kind == survey.TopLeaf && from.tree != mappings:
			fields = append(fields, field{at: at, n: 8, name: name, value: func(p []byte) string { return "block " + number(p) }, to: pointer})
		case kind == survey.MappingLeaf || kind == survey.TopLeaf:
			fields = append(fields, field{at: at, n: 8, name: name, value: func(p []byte) string {
				data, time := metadata.UnpackMapping(le.Uint64(p))
				return fmt.Sprintf("data %d, time %d", data, time)
			}})
		case kind == survey.DetailsLeaf:
			for j, part := range [...]string{"mapped_blocks", "transaction_id"} {
				fields = append(fields, field{at: at + 8*j, n: 8, name: fmt.Sprintf("%d %s", i, part), value: number})
			}
			for j, part := range [...]string{"creation_time", "snapshotted_time"} {
				fields = append(fields, field{at: at + 16 + 4*j, n: 4, name: fmt.Sprintf("%d %s", i, part), value: number})
			}
		case kind == survey.IndexLeaf:
			fields = append(fields, entryFields(at, n.Value(i))...)
		default:
			fields = append(fields, field{at: at, n: 4, name: name, value: func(p []byte) string { return "count " + number(p) }})
		}
	}
	return fields
}

// entryFields returns the fields of index entries from byte at on. It leaves entries of zeros to rest.
func entryFields(at int, entries []byte) (fields []field) {
	for i := 0; i+spacemap.EntrySize <= len(entries); i += spacemap.EntrySize {
		if spacemap.DecodeEntry(entries[i:]) == (spacemap.IndexEntry{}) {
			continue
		}
		fields = append(fields,
			field{at: at + i, n: 8, name: "blocknr", value: func(p []byte) string { return "block " + number(p) }, to: pointer},
			field{at: at + i + 8, n: 4, name: "nr_free", value: number}, field{at: at + i + 12, n: 4, name: "none_free_before", value: number})
	}
	return fields
}

func (c *content) superblockFields() []field {
	fields := c.head(4, "flags")
	add := func(at, n int, name string, value func([]byte) string, to func([]byte) block.Nr) {
		fields = append(fields, field{at, n, name, value, to})
	}
	add(32, 8, "magic", number, nil)
	add(40, 4, "version", number, nil)
	add(44, 4, "time", number, nil)
	add(48, 8, "trans_id", number, nil)
	add(56, 8, "held_root", number, pointer)
	for i, name := range [...]string{"data", "metadata"} {
		at := 64 + 128*i
		add(at, 8, name+" nr_blocks", number, nil)
		add(at+8, 8, name+" nr_allocated", number, nil)
		add(at+16, 8, name+" bitmap_root", number, pointer)
		add(at+24, 8, name+" ref_count_root", number, pointer)
	}
	add(320, 8, "data_mapping_root", number, pointer)
	add(328, 8, "device_details_root", number, pointer)
	add(336, 4, "data_block_size", number, nil)
	add(340, 4, "metadata_block_size", number, nil)
	add(344, 8, "metadata_nr_blocks", number, nil)
	add(352, 4, "compat_flags", hexNumber, nil)
	add(356, 4, "compat_ro_flags", hexNumber, nil)
	add(360, 4, "incompat_flags", hexNumber, nil)
	return fields
}

// rest fills the gaps between fields: 16 bytes a row, and zeros in a single row.
func rest(b *block.Data, named []field) (all []field) {
	at := 0
	fill := func(end int) {
		for at < end {
			zero := len(b[at:end]) - len(bytes.TrimLeft(b[at:end], "\x00"))
			if zero >= 32 || zero == end-at {
				all = append(all, field{at: at, n: zero, name: "zero"})
				at += zero
				continue
			}
			n := min(16, end-at)
			all = append(all, field{at: at, n: n})
			at += n
		}
	}
	for _, f := range named {
		fill(f.at)
		all = append(all, f)
		at = f.at + f.n
	}
	fill(block.Size)
	return all
}
