package shrink

import (
	"errors"
	"sort"

	"thinpool/metadata"
)

// ErrChanged says that the description of the pool is not the one that the plan was made of.
var ErrChanged = errors.New("the input changed while it was read")

// Rewrite returns a Visitor that hands on to v what it is told, with NewBlocks data blocks and
// every mapping led to where the plan puts its data block. It is for one visit. What is shared stays
// so. Its errors are those of v, or [ErrChanged].
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
		// Any block that was in use is in its place. So even of an input that has changed
		// nothing comes out that leads to a wrong block.
		if begin, end := uint64(r.Data), uint64(r.Data)+r.Len; w.plan.usage.mapped.Next(begin, end, false) < end {
			return ErrChanged
		}
		if err := w.run(r); err != nil {
			return err
		}
	}
	return w.flush()
}

// run hands on a run, in pieces where the plan cuts it.
func (w *rewriter) run(r metadata.Run) error {
	const most = 4096 // runs to collect
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

// place is where b, which is in use, has its place, and how many of the n blocks from b on
// lie there in a row.
func (p *Plan) place(b metadata.DataBlock, n uint64) (metadata.DataBlock, uint64) {
	if uint64(b) < p.NewBlocks {
		return b, min(n, p.NewBlocks-uint64(b))
	}
	i := sort.Search(len(p.Moves), func(i int) bool { return p.Moves[i].From > b }) - 1
	m := p.Moves[i]
	done := uint64(b - m.From)
	return m.To + metadata.DataBlock(done), min(n, m.Len-done)
}
