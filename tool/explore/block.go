package explore

import (
	"errors"
	"fmt"
	"strings"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// content is a block and what is known about it. It does not change.
type content struct {
	nr    block.Nr
	raw   *block.Data // as on the device
	data  *block.Data // as shown: with a flipped bit corrected
	kind  survey.Kind // of data
	node  btree.Node  // if isNode
	super metadata.Superblock

	isNode     bool
	asItStands bool // invalid, but shown anyway
	err        error
	correction *block.Correction
	self       block.Nr // the block number it records for itself
}

// readBlock reads a block of a device that has limit blocks.
func readBlock(dev block.Device, nr, limit block.Nr) *content {
	c := &content{nr: nr, self: nr}
	if nr >= limit {
		c.err = fmt.Errorf("block %d is beyond the end of the device, which has %d blocks", nr, limit)
		return c
	}
	raw := new(block.Data)
	if err := block.Read(dev, nr, raw); err != nil {
		c.err = err
		return c
	}
	c.raw = raw
	c.examine(limit)
	return c
}

// examine finds out what the block is.
func (c *content) examine(limit block.Nr) {
	data := *c.raw
	c.data = &data
	if correction, ok := block.Correct(c.nr, &data); ok {
		c.correction = &correction
	}
	c.kind = survey.Examine(c.nr, &data, limit)
	if c.kind == survey.Unknown && block.KindOf(&data) != block.UnknownKind {
		// It is valid, but lies in the place of another, or its header makes no sense.
		if own := block.SelfReference(&data); own != c.nr {
			c.self = own
			c.kind = survey.Examine(own, &data, limit)
			c.err = fmt.Errorf("the block says that it is block %d", own)
		}
	}
	c.decode()
	if c.kind == survey.Unknown {
		c.guess()
	}
}

// decode fills in the fields for this kind of block.
func (c *content) decode() {
	switch c.kind {
	case survey.Superblock:
		c.super, _ = metadata.DecodeSuperblock(c.nr, c.data)
	case survey.Inner, survey.MappingLeaf, survey.TopLeaf, survey.DetailsLeaf, survey.IndexLeaf, survey.CountLeaf:
		node, err := btree.DecodeAny(c.self, c.data)
		c.node, c.isNode = node, err == nil
		if err != nil { // its kind guarantees that it can be decoded
			c.err = err
		}
	}
}

// guess shows an invalid block as it stands, if its header makes sense. Block 0 is always the superblock.
func (c *content) guess() {
	if c.nr == metadata.SuperblockLocation {
		c.super, c.err = metadata.DecodeSuperblock(c.nr, c.data)
		c.kind, c.asItStands = survey.Superblock, true
		return
	}
	_, c.err = btree.DecodeAny(c.nr, c.data)
	sealed := *c.data
	block.Seal(c.nr, &sealed, block.Node)
	node, err := btree.DecodeAny(c.nr, &sealed)
	if err != nil {
		if orderErr, ok := errors.AsType[*btree.OrderError](err); !ok || orderErr == nil {
			return
		}
		c.err = errors.Join(c.err, err)
	}
	kind := survey.Examine(c.nr, &sealed, c.nr+1)
	if kind == survey.Unknown { // keys that do not ascend
		kind = leafKind(node)
	}
	if kind == survey.Unknown || node.Len() == 0 {
		return
	}
	c.kind, c.node, c.isNode, c.asItStands = kind, node, true, true
}

// leafKind tells what a node is from its header alone.
func leafKind(n btree.Node) survey.Kind {
	switch {
	case !n.Leaf():
		return survey.Inner
	case n.ValueSize() == metadata.MappingSize && survey.IsTopLeaf(n):
		return survey.TopLeaf
	}
	switch n.ValueSize() {
	case metadata.MappingSize:
		return survey.MappingLeaf
	case metadata.DetailsSize:
		return survey.DetailsLeaf
	case spacemap.EntrySize:
		return survey.IndexLeaf
	case spacemap.CountSize:
		return survey.CountLeaf
	}
	return survey.Unknown
}

// damaged reports whether the block itself is bad. An empty one may be free.
func (c *content) damaged() bool { return c.err != nil || c.correction != nil || c.asItStands }

// wrongAt reports whether a block that a path leads to is damaged, or does not belong there.
func (c *content) wrongAt(to *place) bool {
	return c.damaged() || to.tree != noTree && (&builder{at: *to, c: c}).surprise() != ""
}

// kindName returns the name of the kind. A metadata snapshot has its copy of the superblock elsewhere.
func (c *content) kindName() string {
	switch {
	case c.raw == nil:
		return "unreadable"
	case c.kind == survey.Superblock && c.nr != metadata.SuperblockLocation:
		return "snapshot superblock"
	case c.kind == survey.Index:
		return "index block"
	}
	return c.kind.String()
}

// summary describes the block in lines. Lines about damage begin with "!".
func (c *content) summary() []string {
	lines := []string{fmt.Sprintf("block %d: %s", c.nr, c.kindName())}
	switch {
	case c.correction != nil:
		lines = append(lines, "! "+c.correction.String(), "shown as it should be")
	case c.asItStands:
		lines = append(lines, "! "+plainError(c.err), "shown as it stands")
	case c.err != nil:
		lines = append(lines, "! "+plainError(c.err))
	case c.kind == survey.Empty:
		lines = append(lines, "all 4096 bytes are zero")
	default:
		lines = append(lines, "checksum right")
	}
	if c.isNode {
		lines = append(lines, fmt.Sprintf("%d of %d entries", c.node.Len(), c.node.Cap()))
		if n := c.node.Len(); n > 0 {
			lines = append(lines, fmt.Sprintf("keys %d..%d", c.node.Key(0), c.node.Key(n-1)))
		}
	}
	return lines
}

// plainError returns the text of an error on one line.
func plainError(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
