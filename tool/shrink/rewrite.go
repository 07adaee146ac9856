package shrink

import (
	"errors"
	"sort"

	"thinpool/metadata"
)

// ErrChanged means that the description of the pool is not the one the plan was made from.
var ErrChanged = errors.New("the input changed while it was read")

// Rewrite returns a Visitor that passes its calls on to v, with NewBlocks data blocks and every
// mapping updated to the plan. It works for a single visit. Shared parts stay shared. It returns
// errors of v, or [ErrChanged].
func (p *Plan) Rewrite(v metadata.Visitor) metadata.Visitor { return &rewriter{Visitor: v, plan: p} }

type rewriter struct {
	metadata.Visitor
	plan     *Plan
	runs     []metadata.Run
	mappings uint64
}

// Begin implements [metadata.Visitor].
func (w *rewriter) Begin(h metadata.Header) error {
	if h != w.plan.usage.header {
		return ErrChanged
	}
	h.NrDataBlocks = w.plan.NewBlocks
	return w.Visitor.Begin(h)
}

// Runs implements [metadata.Visitor].
func (w *rewriter) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		w.mappings += r.Len
		// The plan has a place for every block that was in use. So even if the input has changed, no
		// mapping in the output points to a wrong block.
		if begin, end := uint64(r.Data), uint64(r.Data)+r.Len; w.plan.usage.mapped.Next(begin, end, false) < end {
			return ErrChanged
		}
		if err := w.run(r); err != nil {
			return err
		}
	}
	return w.flush()
}

// run passes on a run, split as the plan splits it.
func (w *rewriter) run(r metadata.Run) error {
	const most = 4096 // maximum number of runs to collect
	for r.Len > 0 {
		if len(w.runs) == most {
			if err := w.flush(); err != nil {
				return err
			}
		}
		part := r
		part.Data, part.Len = w.plan.place(r.Data, r.Len)
		w.runs = append(w.runs, part)
		r.Thin, r.Data, r.Len = r.Thin+metadata.ThinBlock(part.Len), r.Data+metadata.DataBlock(part.Len), r.Len-part.Len
	}
	return nil
}

func (w *rewriter) flush() error {
	runs := w.runs
	w.runs = w.runs[:0]
	if len(runs) == 0 {
		return nil
	}
	return w.Visitor.Runs(runs)
}

// End implements [metadata.Visitor].
func (w *rewriter) End() error {
	if w.mappings != w.plan.usage.mappings {
		return ErrChanged
	}
	return w.Visitor.End()
}

// place returns the new place of b, which must be in use, and how many of the n blocks from b on
// are adjacent there.
func (p *Plan) place(b metadata.DataBlock, n uint64) (metadata.DataBlock, uint64) {
	if uint64(b) < p.NewBlocks {
		return b, min(n, p.NewBlocks-uint64(b))
	}
	i := sort.Search(len(p.Moves), func(i int) bool { return p.Moves[i].From > b }) - 1
	m := p.Moves[i]
	done := uint64(b - m.From)
	return m.To + metadata.DataBlock(done), min(n, m.Len-done)
}
