package delta

import (
	"math"

	"thinpool/metadata"
)

// batchRanges is how many ranges are passed to fn at a time.
const batchRanges = 1024

// A merger compares two streams of ascending runs, which arrive in pieces from either side. It
// only holds back what it cannot compare until more of the other side arrives.
type merger struct {
	opt         Options
	fn          func([]Range) error
	left, right queue
	out         []Range // the last one may continue
	err         error   // from fn
}

// A queue holds the runs of one side that wait for the other side.
type queue struct {
	runs []metadata.Run
	room []metadata.Run // storage for runs between calls
	done uint64         // all runs that start below this have arrived
}

func newMerger(opt Options, fn func([]Range) error) *merger {
	return &merger{opt: opt, fn: fn, out: make([]Range, 0, batchRanges)}
}

// feed adds the next runs of a side, which are all its runs in keys.
func (m *merger) feed(side metadata.Side, runs []metadata.Run, keys metadata.KeyRange) error {
	q := &m.left
	if side == metadata.Right {
		q = &m.right
	}
	runs = m.clip(runs)
	if len(q.runs) == 0 {
		q.runs = runs
	} else {
		q.runs = append(q.runs, runs...)
		q.room = q.runs
	}
	q.reach(keys)
	m.merge()
	m.left.keep()
	m.right.keep()
	return m.err
}

// both adds the next runs of both sides, which are the same in keys. Nothing below keys can be
// missing, because pieces come by their first keys.
func (m *merger) both(runs []metadata.Run, keys metadata.KeyRange) error {
	m.left.done, m.right.done = max(m.left.done, keys.First), max(m.right.done, keys.First)
	m.merge()
	for _, r := range m.clip(runs) {
		m.emit(Same, r.Thin, r.Len, r.Data, r.Data)
	}
	m.left.reach(keys)
	m.right.reach(keys)
	return m.err
}

// finish ends both streams.
func (m *merger) finish() error {
	m.left.done, m.right.done = math.MaxUint64, math.MaxUint64
	m.merge()
	m.send()
	return m.err
}

// reach records that the runs in keys have arrived.
func (q *queue) reach(keys metadata.KeyRange) {
	if keys.Open() {
		q.done = math.MaxUint64
		return
	}
	q.done = max(q.done, keys.Last+1)
}

// keep copies the waiting runs, because the caller's slice is only borrowed.
func (q *queue) keep() {
	q.room = append(q.room[:0], q.runs...)
	q.runs = q.room
}

// clip removes everything beyond the requested size.
func (m *merger) clip(runs []metadata.Run) []metadata.Run {
	if m.opt.Blocks == 0 {
		return runs
	}
	for n := len(runs); n > 0; n-- {
		last := &runs[n-1]
		if begin := uint64(last.Thin); begin < m.opt.Blocks {
			last.Len = min(last.Len, m.opt.Blocks-begin)
			return runs[:n]
		}
	}
	return nil
}

// merge compares what has arrived from both sides.
func (m *merger) merge() {
	left, right := m.left.runs, m.right.runs
	for len(left) > 0 && len(right) > 0 {
		l, r := &left[0], &right[0]
		switch {
		case l.Thin < r.Thin:
			n := min(l.Len, uint64(r.Thin-l.Thin))
			m.emit(LeftOnly, l.Thin, n, l.Data, 0)
			left = skip(left, n)
		case r.Thin < l.Thin:
			n := min(r.Len, uint64(l.Thin-r.Thin))
			m.emit(RightOnly, r.Thin, n, 0, r.Data)
			right = skip(right, n)
		default:
			n, kind := min(l.Len, r.Len), Different
			if l.Data == r.Data {
				kind = Same
			}
			m.emit(kind, l.Thin, n, l.Data, r.Data)
			left, right = skip(left, n), skip(right, n)
		}
	}
	// What is left of one side has no match as far as the other is complete.
	for ; len(left) > 0 && below(left[0], m.right.done) > 0; left = skip(left, below(left[0], m.right.done)) {
		m.emit(LeftOnly, left[0].Thin, below(left[0], m.right.done), left[0].Data, 0)
	}
	for ; len(right) > 0 && below(right[0], m.left.done) > 0; right = skip(right, below(right[0], m.left.done)) {
		m.emit(RightOnly, right[0].Thin, below(right[0], m.left.done), 0, right[0].Data)
	}
	m.left.runs, m.right.runs = left, right
}

// below returns how many blocks of r are below end; the highest number means no end.
func below(r metadata.Run, end uint64) uint64 {
	switch {
	case end == math.MaxUint64:
		return r.Len
	case uint64(r.Thin) >= end:
		return 0
	}
	return min(r.Len, end-uint64(r.Thin))
}

// skip removes n blocks from the first run.
func skip(runs []metadata.Run, n uint64) []metadata.Run {
	if r := &runs[0]; n < r.Len {
		r.Thin += metadata.ThinBlock(n)
		r.Data += metadata.DataBlock(n)
		r.Len -= n
		return runs
	}
	return runs[1:]
}

// emit adds a range to the output, or extends the last one.
func (m *merger) emit(kind Kind, begin metadata.ThinBlock, n uint64, left, right metadata.DataBlock) {
	if kind == Same && m.opt.OmitSame {
		return
	}
	if last := len(m.out) - 1; last >= 0 {
		p := &m.out[last]
		if kind == p.Kind && begin == p.Begin+metadata.ThinBlock(p.Len) && (!m.opt.Data || p.leadsTo(left, right)) {
			p.Len += n
			return
		}
		if last == batchRanges-1 {
			m.send()
		}
	}
	m.out = append(m.out, Range{kind, begin, n, left, right})
}

// leadsTo reports whether left and right continue the data blocks of r.
func (r *Range) leadsTo(left, right metadata.DataBlock) bool {
	n := metadata.DataBlock(r.Len)
	return (r.Kind == RightOnly || left == r.Left+n) && (r.Kind == LeftOnly || right == r.Right+n)
}

// send passes the ranges to fn, unless fn failed before.
func (m *merger) send() {
	if m.err == nil && len(m.out) > 0 {
		m.err = m.fn(m.out)
	}
	m.out = m.out[:0]
}
