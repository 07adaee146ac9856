package repair

import (
	"fmt"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata/block"
)

// A medium is the damaged device with all that was corrected or rebuilt laid over it.
type medium struct {
	overlay  *block.Overlay
	r        *block.Reader // of the overlay as it was at the last reopen
	blocks   block.Nr      // on the damaged device, as far as metadata can reach
	parallel int
}

func newMedium(dev block.Device, parallel int) *medium {
	blocks := min(block.Blocks(dev), spacemap.MaxMetadata)
	m := &medium{overlay: block.NewOverlay(dev, blocks), blocks: blocks, parallel: parallel}
	m.reopen()
	return m
}

// reopen makes new blocks readable.
func (m *medium) reopen() { m.r = block.NewReader(m.overlay, m.parallel) }

// A blockSet is a set of blocks of the damaged device, a bit each.
type blockSet []uint64

// noBlocks returns an empty set.
func (m *medium) noBlocks() blockSet { return make(blockSet, m.blocks/64+1) }

// add adds a block; what lies beyond the device is not kept.
func (s blockSet) add(nr block.Nr) {
	if nr/64 < block.Nr(len(s)) {
		s[nr/64] |= 1 << (nr % 64)
	}
}

func (s blockSet) has(nr block.Nr) bool {
	return nr/64 < block.Nr(len(s)) && s[nr/64]>>(nr%64)&1 != 0
}

// alloc returns a new block beyond the end. A repair never needs as many as the device has;
// trees of leaves at all depths, each pulled down to the deepest, may.
func (m *medium) alloc() (block.Nr, error) {
	const least = 4096
	if m.end()-m.blocks > m.blocks+least {
		return 0, fmt.Errorf("implausible metadata: correcting trees whose leaves are at different depths would take more than the device's %d blocks: %w", m.blocks, block.ErrCorrupt)
	}
	return m.overlay.Alloc()
}

// end is the end of all blocks: new ones lie beyond the end of the damaged device.
func (m *medium) end() block.Nr { return block.Blocks(m.overlay) }
