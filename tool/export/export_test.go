package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/metadata/volume"
	"thinpool/tool/export"
)

const (
	unit = 64 << 10
	size = 160*unit + 512
)

// A model is a volume in memory. Its data depends only on the offset on the data device.
type model struct {
	extents []volume.Extent
	content []byte             // of the volume
	bad     map[int64]struct{} // unreadable blocks of the data device
}

func newModel(seed uint64) *model {
	rnd := rand.New(rand.NewPCG(seed, 5))
	m := &model{content: make([]byte, size), bad: map[int64]struct{}{}}
	for at := int64(0); at < size; {
		n := min((rnd.Int64N(4)+1)*unit, size-at)
		if rnd.IntN(5) == 0 {
			n = min(40*unit, size-at) // larger than a request
		}
		e := volume.Extent{Kind: volume.Kind(rnd.IntN(4)), Begin: at, Len: n}
		switch e.Kind {
		case volume.Mapped:
			e.Data = rnd.Int64N(1000) * unit
		case volume.Lost:
			e.Err = block.ErrCorrupt
		}
		if e.Kind == volume.Mapped || e.Kind == volume.Origin {
			m.fill(m.content[at:at+n], e)
		}
		m.extents = append(m.extents, e)
		at += n
	}
	return m
}

func (m *model) fill(p []byte, e volume.Extent) {
	at := e.Begin
	if e.Kind == volume.Mapped {
		at = e.Data
	}
	at += int64(e.Kind) * 1000
	for i := 0; i < len(p); {
		i += copy(p[i:], noise[(at+int64(i))%int64(len(noise)):])
	}
}

// noise has a length that is not a multiple of any block size.
var noise = func() []byte {
	rnd, p := rand.New(rand.NewPCG(1, 2)), make([]byte, 100003)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}()

func (m *model) Read(p []byte, e volume.Extent) error {
	for at := e.Data / block.Size; e.Kind == volume.Mapped && at*block.Size < e.Data+int64(len(p)); at++ {
		if _, bad := m.bad[at]; bad {
			return &volume.ReadError{Extent: e, BlockSize: unit, Err: blocktest.ErrFailed}
		}
	}
	m.fill(p, e)
	return nil
}

func (m *model) Advise(volume.Extent) {}

func (m *model) all() iter.Seq2[volume.Extent, error] {
	return func(yield func(volume.Extent, error) bool) {
		for _, e := range m.extents {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// A mem is an in-memory target that can fail.
type mem struct{ *blocktest.Mem }

func newMem() mem                     { return mem{blocktest.NewMem(size)} }
func (m mem) Zero(int64, int64) error { return nil } // as in a new file
func (m mem) Sync() error             { return m.Flush() }

func TestRun(t *testing.T) {
	for seed := range uint64(10) {
		m, to := newModel(seed), newMem()
		if err := export.Run(t.Context(), m, m.all(), to, export.Options{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(to.Contents(), m.content) {
			t.Errorf("seed %d: the copy differs", seed)
		}
		var stream bytes.Buffer
		if err := export.Run(t.Context(), m, m.all(), export.NewStream(&stream), export.Options{}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(stream.Bytes(), m.content) {
			t.Errorf("seed %d: the stream differs", seed)
		}
		if err := export.Verify(t.Context(), m, m.all(), to, export.Options{}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// Nothing is written outside the extents.
func TestGaps(t *testing.T) {
	m, want := &model{}, bytes.Repeat([]byte{0xee}, size)
	to := mem{blocktest.NewMemFrom(bytes.Clone(want))}
	for at := int64(512); at < size-unit; at += unit * 3 / 2 {
		e := volume.Extent{Kind: volume.Mapped, Begin: at, Len: unit, Data: 5 * at}
		m.fill(want[e.Begin:e.End()], e)
		m.extents = append(m.extents, e)
	}
	if err := export.Run(t.Context(), m, m.all(), to, export.Options{}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(to.Contents(), want) {
		t.Error("the copy differs")
	}
}

// If a write or the power fails at any point, the export resumes from the last checkpoint and ends
// with the same data.
func TestResume(t *testing.T) {
	m := newModel(3)
	whole := newMem()
	if err := export.Run(t.Context(), m, m.all(), whole, export.Options{}); err != nil {
		t.Fatal(err)
	}
	ops, advanced := whole.Ops(), 0
	for n := range ops {
		to, position := newMem(), int64(0)
		to.FailWritesAfter(n)
		opt := export.Options{Every: 2 << 20, Checkpoint: func(at int64) error {
			if at < position {
				t.Fatalf("the checkpoint goes back from %d to %d", position, at)
			}
			position = at
			return nil
		}}
		err := export.Run(t.Context(), m, m.all(), to, opt)
		if !errors.Is(err, blocktest.ErrFailed) {
			t.Fatalf("write %d of %d fails: %v", n, ops, err)
		}
		if position > 0 {
			advanced++
		}
		for seed := range 2 {
			again := mem{to.Crash(seed)}
			opt := export.Options{From: position}
			if err := export.Run(t.Context(), m, m.all(), again, opt); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.Contents(), m.content) {
				t.Errorf("resumed after write %d at byte %d: the copy differs", n, position)
			}
			if position > 0 && again.Ops() >= ops {
				t.Errorf("resumed at byte %d, all is written again", position)
			}
		}
	}
	if advanced == 0 {
		t.Error("there was never a checkpoint")
	}
}

// An interrupted export stops soon and can resume.
func TestInterrupted(t *testing.T) {
	m, to, position := newModel(4), newMem(), int64(0)
	ctx, cancel := context.WithCancel(t.Context())
	opt := export.Options{
		Progress: func(string, uint64, uint64) { cancel() }, // after the first write
		Checkpoint: func(at int64) error {
			position = at
			return nil
		},
	}
	if err := export.Run(ctx, m, m.all(), to, opt); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if position == 0 || position > size/2 {
		t.Errorf("stopped at byte %d", position)
	}
	if err := export.Run(t.Context(), m, m.all(), to, export.Options{From: position}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(to.Contents(), m.content) {
		t.Error("the copy differs")
	}
}

// An error from the extents or from a checkpoint ends the export.
func TestErrors(t *testing.T) {
	m, wrong := newModel(1), errors.New("wrong")
	extents := func(yield func(volume.Extent, error) bool) {
		_ = yield(m.extents[0], nil) && yield(volume.Extent{}, wrong)
	}
	if err := export.Run(t.Context(), m, extents, newMem(), export.Options{}); !errors.Is(err, wrong) {
		t.Errorf("extents that fail: %v", err)
	}
	opt := export.Options{Every: 1, Checkpoint: func(int64) error { return wrong }}
	if err := export.Run(t.Context(), m, m.all(), newMem(), opt); !errors.Is(err, wrong) {
		t.Errorf("a checkpoint that fails: %v", err)
	}
	stream := export.NewStream(new(bytes.Buffer))
	if err := export.Run(t.Context(), m, m.all(), stream, export.Options{From: unit}); err == nil {
		t.Error("a stream went on in the middle")
	}
}

// Unreadable data ends the export, or becomes zeros, but no more than necessary.
func TestUnreadable(t *testing.T) {
	m := &model{bad: map[int64]struct{}{}, extents: []volume.Extent{
		{Kind: volume.Mapped, Begin: 0, Len: 4 * unit, Data: 8 * unit},
		{Kind: volume.Mapped, Begin: 4 * unit, Len: 4 * unit, Data: 100 * unit},
		{Kind: volume.Hole, Begin: 8 * unit, Len: unit},
		{Kind: volume.Mapped, Begin: 9 * unit, Len: unit, Data: 200 * unit},
	}}
	want := make([]byte, size)
	for _, e := range m.extents {
		if e.Kind == volume.Mapped {
			m.fill(want[e.Begin:e.End()], e)
		}
	}
	lost := [][2]int64{{3*unit + block.Size, 3*unit + 3*block.Size}, {4*unit - block.Size, 4*unit + block.Size}, {9*unit + 2*block.Size, 9*unit + 3*block.Size}}
	for _, at := range []int64{11*unit/block.Size + 1, 11*unit/block.Size + 2, 12*unit/block.Size - 1, 100 * unit / block.Size, 200*unit/block.Size + 2} {
		m.bad[at] = struct{}{}
	}
	for _, l := range lost {
		clear(want[l[0]:l[1]])
	}
	to, position := newMem(), int64(-1)
	err := export.Run(t.Context(), m, m.all(), to, export.Options{Checkpoint: func(at int64) error { position = at; return nil }})
	if wrong, ok := errors.AsType[*volume.ReadError](err); !ok || wrong.Extent.Begin != 0 || position != 0 {
		t.Errorf("the error is %v, the checkpoint %d", err, position)
	}
	var found [][2]int64
	to = newMem()
	opt := export.Options{Unreadable: func(e volume.Extent) {
		if e.Kind != volume.Lost || !errors.Is(e.Err, blocktest.ErrFailed) {
			t.Errorf("%v: %v", e, e.Err)
		}
		found = append(found, [2]int64{e.Begin, e.End()})
	}}
	if err := export.Run(t.Context(), m, m.all(), to, opt); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(to.Contents(), want) {
		t.Error("the copy is not what can be read")
	}
	if !slices.Equal(found, lost) {
		t.Errorf("lost %v, want %v", found, lost)
	}
	if err := export.Verify(t.Context(), m, m.all(), to, opt); err != nil {
		t.Error(err)
	}
}

// Any wrong byte is found, in data and in holes.
func TestVerify(t *testing.T) {
	m, to := newModel(2), newMem()
	if err := export.Run(t.Context(), m, m.all(), to, export.Options{}); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 10 {
		at := rnd.IntN(size)
		p := to.Contents()
		p[at] ^= 4
		err := export.Verify(t.Context(), m, m.all(), bytes.NewReader(p), export.Options{})
		if !errors.Is(err, export.ErrDiffers) || !strings.Contains(err.Error(), fmt.Sprintf("byte %d is %#02x, not %#02x", at, p[at], p[at]^4)) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	if err := export.Verify(t.Context(), m, m.all(), bytes.NewReader(m.content[:size-1]), export.Options{}); err == nil {
		t.Error("a copy that is too short passes")
	}
}
