package repair

import (
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata/block"
)

// A medium is the damaged device with all that was corrected or rebuilt laid over it.
type medium struct {
	overlay  *block.Patched
	r        *block.Reader // of the overlay as it was at the last reopen
	blocks   block.Nr      // on the damaged device, as far as metadata can reach
	parallel int
}

func newMedium(dev block.Device, parallel int) *medium {
	blocks := min(block.Blocks(dev), spacemap.MaxMetadata)
	m := &medium{overlay: block.NewPatched(dev, blocks), blocks: blocks, parallel: parallel}
	m.reopen()
	return m
}

// reopen makes new blocks readable.
func (m *medium) reopen() { m.r = block.NewReader(m.overlay, m.parallel) }

// end is the end of all blocks: new ones lie beyond the end of the damaged device.
func (m *medium) end() block.Nr { return block.Blocks(m.overlay) }
