package shrink_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"thinpool/metadata"
	"thinpool/tool/shrink"
)

const blockBytes = 128 * 512

// A pool is a list of visitor calls.
type pool struct {
	nr    uint64
	calls []func(metadata.Visitor) error
	kept  []metadata.DataBlock
}

func (p *pool) tell(v metadata.Visitor) error {
	err := v.Begin(metadata.Header{Version: 2, Time: 3, DataBlockSize: 128, NrDataBlocks: p.nr})
	for _, call := range p.calls {
		err = errors.Join(err, call(v))
	}
	return errors.Join(err, v.End())
}

func (p *pool) call(f func(metadata.Visitor) error) { p.calls = append(p.calls, f) }

func (p *pool) runs(runs ...metadata.Run) {
	p.call(func(v metadata.Visitor) error { return v.Runs(slices.Clone(runs)) })
}

func (p *pool) device(id metadata.DevID, content func()) {
	p.call(func(v metadata.Visitor) error { return v.BeginDevice(id, metadata.Details{CreationTime: 1}) })
	content()
	p.call(metadata.Visitor.EndDevice)
}

// usage returns a Usage after a visit of the pool.
func (p *pool) usage(tb interface{ Fatal(...any) }) *shrink.Usage {
	u := new(shrink.Usage)
	if err := p.tell(u); err != nil {
		tb.Fatal(err)
	}
	for _, b := range p.kept {
		if err := u.Keep(b, b+1); err != nil {
			tb.Fatal(err)
		}
	}
	return u
}

func drawPool(t *rapid.T) *pool {
	p := &pool{nr: rapid.Uint64Range(1, 48).Draw(t, "data blocks")}
	content := func(thin metadata.ThinBlock) {
		for range rapid.IntRange(0, 3).Draw(t, "runs") {
			data := rapid.Uint64Range(0, p.nr-1).Draw(t, "data")
			r := metadata.Run{Thin: thin, Data: metadata.DataBlock(data), Len: rapid.Uint64Range(1, min(p.nr-data, 9)).Draw(t, "length"), Time: 2}
			p.runs(r)
			thin += metadata.ThinBlock(r.Len + rapid.Uint64Range(0, 2).Draw(t, "gap"))
		}
	}
	const apart = 100
	defs := rapid.IntRange(0, 3).Draw(t, "defs")
	for i := range defs {
		p.call(func(v metadata.Visitor) error { return v.BeginDef(fmt.Sprint(i)) })
		content(metadata.ThinBlock(apart * i))
		p.call(metadata.Visitor.EndDef)
	}
	for id := range rapid.IntRange(0, 3).Draw(t, "devices") {
		p.device(metadata.DevID(id), func() {
			for i := range defs + 1 {
				if i < defs && rapid.Bool().Draw(t, "shares") {
					p.call(func(v metadata.Visitor) error { return v.Ref(fmt.Sprint(i)) })
				}
				content(metadata.ThinBlock(apart*i + apart/2))
			}
		})
	}
	for range rapid.IntRange(0, 3).Draw(t, "kept") {
		p.kept = append(p.kept, metadata.DataBlock(rapid.Uint64Range(0, p.nr-1).Draw(t, "kept block")))
	}
	return p
}

// A model holds all visitor calls except runs, and the mappings one by one.
type model struct {
	calls    []string
	mappings []mapping
	where    string
}

func (m *model) call(format string, args ...any) error {
	m.calls = append(m.calls, fmt.Sprintf(format, args...))
	return nil
}

func (m *model) Begin(h metadata.Header) error { return m.call("begin %+v", h) }

func (m *model) BeginDef(name string) error { m.where = name; return m.call("def %s", name) }

func (m *model) EndDef() error { return m.call("end def") }

func (m *model) Ref(name string) error { return m.call("ref %s", name) }

func (m *model) EndDevice() error { return m.call("end device") }

func (m *model) End() error { return m.call("end") }

func (m *model) BeginDevice(id metadata.DevID, d metadata.Details) error {
	m.where = fmt.Sprint("device ", id)
	return m.call("device %d %+v", id, d)
}

func (m *model) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		for i := range r.Len {
			m.mappings = append(m.mappings, mapping{m.where, r.Thin + metadata.ThinBlock(i), r.Data + metadata.DataBlock(i), r.Time})
		}
	}
	return nil
}

// moves returns the plan by definition, the number of blocks that must move, and the number of free ones.
func (m *model) moves(kept []metadata.DataBlock, nr, n uint64) (to map[metadata.DataBlock]metadata.DataBlock, move, free uint64) {
	used := map[metadata.DataBlock]bool{}
	for _, x := range m.mappings {
		used[x.data] = true
	}
	var from, into []metadata.DataBlock
	for b := range metadata.DataBlock(max(nr, n)) {
		switch {
		case uint64(b) >= n && used[b]:
			from = append(from, b)
		case uint64(b) < n && !used[b] && !slices.Contains(kept, b):
			into = append(into, b)
		}
	}
	to = map[metadata.DataBlock]metadata.DataBlock{}
	for i := range min(len(from), len(into)) {
		to[from[i]] = into[i]
	}
	return to, uint64(len(from)), uint64(len(into))
}

// dataOf returns a data device whose blocks all differ.
func dataOf(nr uint64) []byte {
	p := make([]byte, nr*blockBytes)
	for b := range nr {
		copy(p[b*blockBytes:], bytes.Repeat(binary.LittleEndian.AppendUint64(nil, b+1), blockBytes/8))
	}
	return p
}

func blockOf(p []byte, b metadata.DataBlock) []byte { return p[b*blockBytes:][:blockBytes] }
