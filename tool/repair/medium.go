package repair

import (
	"fmt"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata/block"
)

// A medium is the damaged device with everything corrected or rebuilt laid over it.
type medium struct {
	overlay  *block.Overlay
	r        *block.Reader // of the overlay as of the last reopen
	blocks   block.Nr      // on the damaged device, up to the maximum size of metadata
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

// A blockSet is a set of blocks of the damaged device, with one bit per block.
type blockSet []uint64

// noBlocks returns an empty set.
func (m *medium) noBlocks() blockSet { return make(blockSet, m.blocks/64+1) }

// add adds a block; blocks beyond the device are ignored.
func (s blockSet) add(nr block.Nr) {
	if nr/64 < block.Nr(len(s)) {
		s[nr/64] |= 1 << (nr % 64)
	}
}

func (s blockSet) has(nr block.Nr) bool {
	return nr/64 < block.Nr(len(s)) && s[nr/64]>>(nr%64)&1 != 0
}

// alloc returns a new block beyond the end. A repair never needs as many blocks as the device has,
// except for trees with leaves at all depths, which are all pulled down to the deepest.
func (m *medium) alloc() (block.Nr, error) {
	const least = 4096
	if m.end()-m.blocks > m.blocks+least {
		return 0, fmt.Errorf("implausible metadata: correcting trees whose leaves are at different depths would take more than the device's %d blocks: %w", m.blocks, block.ErrCorrupt)
	}
	return m.overlay.Alloc()
}

// end returns the end of all blocks, including new ones beyond the damaged device.
func (m *medium) end() block.Nr { return block.Blocks(m.overlay) }
