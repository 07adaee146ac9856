package check

import (
	"fmt"
	"maps"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A hazard collects the devices that would overwrite a shared data block in place.
//
// If a device's snapshotted_time is later than a mapping's time, the kernel treats the mapping as
// shared and copies its block before a write. So the fix raises snapshotted_time to one more than
// the newest of these mappings. The superblock's time becomes at least as high: otherwise the
// kernel would treat new mappings as shared, too.
type hazard struct {
	devices map[metadata.DevID]bool
	newest  uint32 // newest time of the mappings that can be fixed
}

// time returns the required snapshotted_time.
func (h *hazard) time() uint32 { return h.newest + 1 }

// noteHazards adds the devices that would overwrite the mappings in bad.
func (c *checker) noteHazards(bad []badMappings, devices []metadata.Device) {
	snapped := map[metadata.DevID]uint32{}
	var last *badMappings
	for i, b := range bad {
		if b.code != SharedWritable || b.atLimit {
			continue
		}
		if len(snapped) == 0 {
			c.hazard.devices = map[metadata.DevID]bool{}
			for _, d := range devices {
				snapped[d.ID] = d.SnapshottedTime
			}
		}
		c.hazard.newest = max(c.hazard.newest, b.newest)
		owners := b.owners.IDs
		if b.owners.Incomplete { // where a later time is not needed, it only costs copies
			owners = slices.Collect(maps.Keys(snapped))
		}
		if last != nil && last.owners.Same(b.owners) && b.newest <= last.newest {
			continue
		}
		last = &bad[i]
		for _, id := range owners {
			if time, ok := snapped[id]; ok && time <= b.newest {
				c.hazard.devices[id] = true
			}
		}
	}
}

// A raisePlan plans how the devices of a hazard get their new snapshotted_time. It copies the
// nodes of the details tree on the paths to them. A metadata snapshot that shares the tree keeps
// the old nodes.
type raisePlan struct {
	c       *checker
	nodes   []block.Nr // to copy, children before parents
	changes map[block.Nr]int
	root    block.Nr // of the new tree, once written
}

func (c *checker) planRaise() *raisePlan {
	p := &raisePlan{c: c, changes: map[block.Nr]int{}}
	p.find(c.live.DetailsRoot)
	copied := map[block.Nr]bool{}
	for _, nr := range p.nodes {
		copied[nr] = true
	}
	for _, nr := range p.nodes {
		for _, child := range p.children(nr) {
			if !copied[child] {
				p.changes[child]++ // the copy points to it, too
			}
		}
	}
	p.drop(c.live.DetailsRoot)
	return p
}

// find adds the nodes from nr down that must be copied; false if there are none.
func (p *raisePlan) find(nr block.Nr) bool {
	found := false
	switch role, i := p.c.details.Role(nr); role {
	case btree.LeafNode:
		for _, d := range p.c.detailsOf[i] {
			found = found || p.c.hazard.devices[d.id]
		}
	case btree.InnerNode:
		for _, child := range p.c.details.Inner()[i].Children {
			found = p.find(child) || found
		}
	}
	if found {
		p.nodes = append(p.nodes, nr)
	}
	return found
}

func (p *raisePlan) children(nr block.Nr) []block.Nr {
	if role, i := p.c.details.Role(nr); role == btree.InnerNode {
		return p.c.details.Inner()[i].Children
	}
	return nil
}

func (p *raisePlan) count(nr block.Nr) int { return int(p.c.refs.Get(uint64(nr))) + p.changes[nr] }

// drop removes a pointer to nr. A node without pointers drops its children.
func (p *raisePlan) drop(nr block.Nr) {
	p.changes[nr]--
	if p.count(nr) == 0 {
		for _, child := range p.children(nr) {
			p.drop(child)
		}
	}
}

// change returns the plan's changes to reference counts, and how its blocks are written.
func (p *raisePlan) change() spacemap.Change {
	change := spacemap.Change{Blocks: len(p.nodes), Write: p.write, Counts: map[block.Nr]uint32{}}
	for nr, by := range p.changes {
		switch n := p.count(nr); {
		case n <= 0:
			change.Released = append(change.Released, nr)
		case by != 0:
			change.Counts[nr] = uint32(n)
		}
	}
	return change
}

// write copies the nodes, which have not changed since the check.
func (p *raisePlan) write(a btree.Allocator) error {
	copyOf := map[block.Nr]block.Nr{}
	var b block.Data
	for _, nr := range p.nodes {
		if err := p.c.r.Read(nr, &b); err != nil {
			return fmt.Errorf("device details: %w", err)
		}
		n, err := btree.Decode(nr, &b, metadata.DetailsSize)
		if err != nil {
			return fmt.Errorf("device details: %w", err)
		}
		for i := range n.Len() {
			if n.Leaf() {
				p.raise(metadata.DevID(n.Key(i)), n.Value(i))
			} else if to, ok := copyOf[block.Nr(n.Uint64(i))]; ok {
				le.PutUint64(n.Value(i), uint64(to))
			}
		}
		if p.root, err = a.Alloc(); err != nil {
			return err
		}
		copyOf[nr] = p.root
		block.Seal(p.root, &b, block.Node)
		if err := a.Write(p.root, &b); err != nil {
			return err
		}
	}
	return nil
}

func (p *raisePlan) raise(id metadata.DevID, value []byte) {
	if !p.c.hazard.devices[id] {
		return
	}
	d := metadata.DecodeDetails(value)
	d.SnapshottedTime = max(d.SnapshottedTime, p.c.hazard.time())
	d.Encode(value)
}
