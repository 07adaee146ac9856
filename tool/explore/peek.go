package explore

import (
	"context"
	"slices"

	"thinpool/metadata/block"
)

// peeked is a block read for the side pane.
type peeked struct{ content *content }

// peek reads the blocks that the page leads to: the selected one for the side pane, and the others so that
// damage shows before the user steps into it.
func (m Model) peek(e Effects) (Model, Effects) {
	if len(m.stack) == 0 || m.reading != 0 {
		return m, e
	}
	dev, limit := m.opt.Device, m.limit
	row := m.page().selected()
	if m.peeking == 0 && row != nil && row.to != nil && row.to.nr < m.limit && m.cache[row.to.nr] == nil {
		nr := row.to.nr
		m.peeking = nr
		m.lastID++
		e = e.and(Effects{Jobs: []Job{{m.lastID, func(context.Context, func(string, uint64, uint64)) Msg {
			return peeked{readBlock(dev, nr, limit)}
		}}}})
	}
	if p := m.page(); !m.judging && !p.judged {
		p.judged = true
		if all := p.children(); len(all) > 0 {
			m.judging = true
			m.lastID++
			e = e.and(Effects{Jobs: []Job{{m.lastID, func(ctx context.Context, _ func(string, uint64, uint64)) Msg {
				return judgeBlocks(ctx, dev, limit, all)
			}}}})
		}
	}
	return m, e
}

// children returns the blocks that the rows of a page lead to, at most as many as a node has entries. Counts
// of blocks are not pointers.
func (p *page) children() []place {
	const most = 512
	var all []place
	for i := range p.rows {
		if to := p.rows[i].to; to != nil && to.tree != noTree && len(all) < most {
			all = append(all, *to)
		}
	}
	return all
}

// judged lists the damaged or misplaced blocks among those a page leads to.
type judged struct{ bad []block.Nr }

func judgeBlocks(ctx context.Context, dev block.Device, limit block.Nr, all []place) judged {
	var j judged
	for i := range all {
		if ctx.Err() != nil {
			break
		}
		if readBlock(dev, all[i].nr, limit).wrongAt(&all[i]) {
			j.bad = append(j.bad, all[i].nr)
		}
	}
	return j
}

// judge marks the rows that lead to damaged blocks. It copies the rows, because older models share them.
func (m *Model) judge(j judged) {
	if len(j.bad) == 0 {
		return
	}
	for i := range m.stack {
		p := &m.stack[i]
		cloned := false
		for k := range p.rows {
			if to := p.rows[k].to; to != nil && to.tree != noTree && !p.rows[k].bad && slices.Contains(j.bad, to.nr) {
				if !cloned {
					p.rows, cloned = slices.Clone(p.rows), true
				}
				p.rows[k].bad = true
			}
		}
	}
}
