package streamfmt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/metadata"
	"thinpool/streamfmt"
)

// calls is a Visitor that records its calls.
type calls struct{ all []string }

func (c *calls) note(format string, args ...any) error {
	c.all = append(c.all, fmt.Sprintf(format, args...))
	return nil
}

func (c *calls) Begin(h metadata.Header) error { return c.note("begin %+v", h) }
func (c *calls) BeginDef(name string) error    { return c.note("def %q", name) }
func (c *calls) EndDef() error                 { return c.note("end def") }
func (c *calls) Ref(name string) error         { return c.note("ref %q", name) }
func (c *calls) EndDevice() error              { return c.note("end device") }
func (c *calls) End() error                    { return c.note("end") }
func (c *calls) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return c.note("device %d %+v", id, d)
}

func (c *calls) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		c.note("%v", r)
	}
	return nil
}

var header = metadata.Header{UUID: [16]byte{1, 15: 2}, Time: 7, TransactionID: 9, Flags: 1, Version: 2, DataBlockSize: 128, NrDataBlocks: 1000}

// describe passes v a pool with everything a description can contain.
func describe(v metadata.Visitor) error {
	return errors.Join(
		v.Begin(header),
		v.BeginDef("12"), v.Runs([]metadata.Run{{Thin: 5, Data: 900, Len: 100, Time: 3}, {Thin: 1 << 50, Data: 3, Len: 1}}), v.EndDef(),
		v.BeginDef(""), v.EndDef(),
		v.BeginDevice(0, metadata.Details{MappedBlocks: 101, TransactionID: 1 << 60, CreationTime: 3, SnapshottedTime: metadata.MaxTime}),
		v.Ref("12"), v.Ref(""), v.EndDevice(),
		v.BeginDevice(metadata.MaxDevID, metadata.Details{MappedBlocks: 1}),
		v.Runs([]metadata.Run{{Thin: 1<<64 - 1, Data: 999, Len: 1, Time: metadata.MaxTime}}), v.EndDevice(),
		v.End(),
	)
}

// A description is the same after writing and reading.
func TestDescription(t *testing.T) {
	var out bytes.Buffer
	var want, got calls
	if err := errors.Join(describe(&want), describe(streamfmt.NewDescriptionWriter(&out))); err != nil {
		t.Fatal(err)
	}
	var h streamfmt.Header
	h.SetHeader(header)
	again, err := h.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if err := streamfmt.ReadDescription(bytes.NewReader(out.Bytes()), again, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.all, got.all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for n := range out.Len() {
		if err := streamfmt.ReadDescription(bytes.NewReader(out.Bytes()[:n]), again, new(calls)); !errors.Is(err, streamfmt.ErrDamaged) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
	if err := streamfmt.ReadDescription(bytes.NewReader(append(out.Bytes(), 0)), again, new(calls)); !errors.Is(err, streamfmt.ErrDamaged) {
		t.Errorf("with something behind: %v", err)
	}
}

// Ranges are the same after writing and reading.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want, got []streamfmt.Range
		var end uint64
		for range rapid.IntRange(0, 20).Draw(t, "n") {
			r := streamfmt.Range{Begin: metadata.DataBlock(end + rapid.Uint64Range(0, 1<<30).Draw(t, "gap")), Len: rapid.Uint64Range(1, 1<<30).Draw(t, "len")}
			if r.InBase = rapid.Bool().Draw(t, "based"); r.InBase {
				r.Ordinal = rapid.Uint64Range(0, 1<<39).Draw(t, "ordinal")
			}
			end = uint64(r.Begin) + r.Len
			want = append(want, r)
		}
		var out bytes.Buffer
		w := streamfmt.NewRangeWriter(&out)
		for _, r := range want {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		read := func(limit uint64) error {
			got = nil
			return streamfmt.ReadRanges(bytes.NewReader(out.Bytes()), limit, func(r streamfmt.Range) error {
				got = append(got, r)
				return nil
			})
		}
		if err := read(end); err != nil || !slices.Equal(want, got) {
			t.Fatalf("%v, want %v: %v", got, want, err)
		}
		if end > 0 && !errors.Is(read(end-1), streamfmt.ErrDamaged) {
			t.Fatal("a range beyond the limit is accepted")
		}
	})
}

// stream returns a small stream with all kinds of sections.
func stream(t testing.TB, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := streamfmt.NewWriter(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	var h streamfmt.Header
	h.Kind, h.Used, h.Sent = "pool", 101, 101
	h.SetHeader(header)
	layout, description := w.Section(streamfmt.Layout), w.Section(streamfmt.Description)
	ranges := streamfmt.NewRangeWriter(layout)
	errs := []error{
		w.JSON(streamfmt.Head, h),
		ranges.Write(streamfmt.Range{Begin: 3, Len: 1}), ranges.Write(streamfmt.Range{Begin: 900, Len: 100}), layout.Close(),
		describe(streamfmt.NewDescriptionWriter(description)), description.Close(),
		w.JSON(streamfmt.Volumes, []streamfmt.Volume{{DevID: 1, Name: "a"}}),
		w.Write(w.NewFrame(streamfmt.Data, 3<<16, bytes.Repeat([]byte("data"), 1<<14), nil)),
		w.Write(&streamfmt.Frame{Type: streamfmt.Zero, Position: 900 << 16, Length: 100 << 16}),
	}
	_, err = w.End()
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readAll reads all frames and their content.
func readAll(p []byte) (frames int, bytesOut uint64, err error) {
	r, err := streamfmt.NewReader(bytes.NewReader(p))
	if err != nil {
		return 0, 0, err
	}
	for {
		f, err := r.Next()
		if err == io.EOF {
			return frames, bytesOut, nil
		}
		if err != nil {
			return frames, bytesOut, err
		}
		content, err := r.Content(f, nil)
		if err != nil {
			return frames, bytesOut, err
		}
		frames, bytesOut = frames+1, bytesOut+uint64(len(content))
		r.Recycle(f)
	}
}

// A reader detects a change of any bit, and a truncation at any byte.
func TestDamage(t *testing.T) {
	for _, level := range []int{0, 1} {
		whole := stream(t, level)
		if n, _, err := readAll(whole); n != 7 || err != nil {
			t.Fatalf("%d frames, %v", n, err)
		}
		step := max(1, len(whole)/3000)
		for at := 0; at < len(whole); at += step {
			spoiled := bytes.Clone(whole)
			spoiled[at] ^= 1 << (at % 8)
			if _, _, err := readAll(spoiled); err == nil {
				t.Errorf("level %d: byte %d is another one, and the stream is accepted", level, at)
			}
			if _, _, err := readAll(whole[:at]); !errors.Is(err, streamfmt.ErrCut) && !errors.Is(err, streamfmt.ErrNotStream) {
				t.Errorf("level %d: %d bytes of it: %v", level, at, err)
			}
		}
	}
}

// frame returns a frame with a valid checksum. Its content need not be valid.
func frame(kind, encoding byte, position, length uint64, payload []byte) []byte {
	le := binary.LittleEndian
	h := make([]byte, 32)
	h[0], h[1] = kind, encoding
	le.PutUint32(h[4:], uint32(len(payload)))
	le.PutUint64(h[8:], position)
	le.PutUint64(h[16:], length)
	table := crc32.MakeTable(crc32.Castagnoli)
	le.PutUint32(h[28:], crc32.Update(crc32.Checksum(h[:28], table), table, payload))
	return append(h, payload...)
}

// A reader refuses impossible claims with valid checksums, and spends nothing on them.
func TestHostile(t *testing.T) {
	prefix := append([]byte(streamfmt.Magic), 1, 0, 0, 0, 0, 0, 0, 0)
	head := frame(1, 0, 0, 2, []byte("{}"))
	huge := frame(1, 0, 0, 2, []byte("{}"))
	binary.LittleEndian.PutUint32(huge[4:], 1<<32-1)
	for name, c := range map[string]struct {
		frames [][]byte
		want   string
	}{
		"unknown type":     {[][]byte{head, frame(77, 0, 0, 0, nil)}, "unknown frame type 77"},
		"unknown encoding": {[][]byte{frame(1, 9, 0, 2, []byte("{}"))}, "unknown encoding"},
		"huge frame":       {[][]byte{huge}, "4294967295 bytes"},
		"huge content":     {[][]byte{frame(1, 1, 0, 1<<40, []byte("{}"))}, "want at most"},
		"wrong length":     {[][]byte{frame(1, 0, 0, 3, []byte("{}"))}, "has 2"},
		"full zeros":       {[][]byte{head, frame(8, 0, 0, 2, []byte("{}"))}, "zeros with content"},
		"no header":        {[][]byte{frame(2, 0, 0, 0, nil)}, "layout after"},
		"back":             {[][]byte{head, frame(3, 0, 0, 0, nil), frame(2, 0, 0, 0, nil)}, "layout after description"},
		"missing frame":    {[][]byte{head, frame(3, 0, 0, 0, nil), frame(3, 0, 2, 0, nil)}, "frame 2 of it, want 1"},
		"bad compression":  {[][]byte{frame(1, 1, 0, 5, []byte("never"))}, "header at 0"},
		"no sum":           {[][]byte{head, frame(9, 0, 0, 2, []byte("{}"))}, "SHA-256"},
	} {
		_, _, err := readAll(slices.Concat(prefix, slices.Concat(c.frames...)))
		if !errors.Is(err, streamfmt.ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want one about %q", name, err, c.want)
		}
	}
	if _, err := streamfmt.NewReader(strings.NewReader(streamfmt.Magic + "\x02\x00\x00\x00\x00\x00\x00\x00")); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("another version: %v", err)
	}
	if _, err := streamfmt.NewReader(strings.NewReader("not at all a stream")); err != streamfmt.ErrNotStream {
		t.Errorf("something else: %v", err)
	}
}

// A reader refuses a header with an invalid uuid.
func TestHeader(t *testing.T) {
	for _, uuid := range []string{"", "00", strings.Repeat("zz", 16), strings.Repeat("00", 17)} {
		h := streamfmt.Header{UUID: uuid}
		if _, err := h.Metadata(); !errors.Is(err, streamfmt.ErrDamaged) {
			t.Errorf("uuid %q: %v", uuid, err)
		}
	}
}
