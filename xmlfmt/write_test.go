package xmlfmt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/metadata"
)

// describe makes the calls of a small dump; its runs come in parts to be joined.
func describe(v metadata.Visitor, shared bool) error {
	run := func(thin, data, n uint64) []metadata.Run {
		return []metadata.Run{{Thin: metadata.ThinBlock(thin), Data: metadata.DataBlock(data), Len: n}}
	}
	errs := []error{v.Begin(metadata.Header{Time: 1, TransactionID: 2, Flags: 1, Version: 2, DataBlockSize: 128, NrDataBlocks: 16384})}
	if shared {
		errs = append(errs, v.BeginDef("19"), v.Runs(run(0, 0, 1000)), v.Runs(run(1000, 1000, 600)), v.EndDef())
	}
	errs = append(errs, v.BeginDevice(1, metadata.Details{MappedBlocks: 1601, SnapshottedTime: 1}))
	if shared {
		errs = append(errs, v.Ref("19"))
	}
	errs = append(errs, v.Runs(run(1600, 1600, 1)), v.Runs(run(1602, 99, 1)), v.EndDevice(),
		v.BeginDevice(2, metadata.Details{}), v.EndDevice(), v.End())
	return errors.Join(errs...)
}

func TestWriteStyles(t *testing.T) {
	const devices = `    <single_mapping origin_block="1600" data_block="1600" time="0"/>
    <single_mapping origin_block="1602" data_block="99" time="0"/>
  </device>
  <device dev_id="2" mapped_blocks="0" transaction="0" creation_time="0" snap_time="0">
  </device>
</superblock>`
	const style1 = `<superblock uuid="" time="1" transaction="2" flags="1" version="2" data_block_size="128" nr_data_blocks="16384">
  <def name="19">
    <range_mapping origin_begin="0" data_begin="0" length="1600" time="0"/>
  </def>
  <device dev_id="1" mapped_blocks="1601" transaction="0" creation_time="0" snap_time="1">
    <ref name="19"/>
` + devices
	const style09 = `<superblock uuid="" time="1" transaction="2" flags="1" version="2" data_block_size="128" nr_data_blocks="16384">
  <device dev_id="1" mapped_blocks="1601" transaction="0" creation_time="0" snap_time="1">
` + devices + "\n"
	for name, tc := range map[string]struct {
		style Style
		want  string
	}{
		"1": {Style1, style1 + "\n"}, "1 to the byte": {Style1Exact, style1}, "0.9": {Style09, style09},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			w := NewWriter(&got, tc.style)
			if err := describe(w, tc.style != Style09); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Style 0.9 always writes flags; style 1 only does if needs_check is set.
func TestWriteFlags(t *testing.T) {
	for _, tc := range []struct {
		style Style
		flags uint32
		want  string
	}{
		{Style1, 0, `transaction="0" version="0"`},
		{Style1, 3, `transaction="0" flags="1" version="0"`},
		{Style09, 0, `transaction="0" flags="0" version="0"`},
		{Style09, 3, `transaction="0" flags="3" version="0"`},
	} {
		var got bytes.Buffer
		if err := NewWriter(&got, tc.style).Begin(metadata.Header{Flags: tc.flags}); err != nil || !strings.Contains(got.String(), tc.want) {
			t.Errorf("style %v, flags %d: %q, %v; want %s", tc.style, tc.flags, got.String(), err, tc.want)
		}
	}
}

func TestWriteRefusesDefs(t *testing.T) {
	w := NewWriter(io.Discard, Style09)
	if w.BeginDef("x") == nil || w.Ref("x") == nil {
		t.Error("style 0.9 takes defs")
	}
}

// The first line is written immediately: some programs read no more.
func TestWriteFirstLine(t *testing.T) {
	var got bytes.Buffer
	w := NewWriter(&got, Style1)
	if err := w.Begin(metadata.Header{}); err != nil || !strings.HasSuffix(got.String(), ">\n") {
		t.Errorf("after Begin: %q, %v", got.String(), err)
	}
}

// failing fails after some bytes.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestWriteFails(t *testing.T) {
	runs := make([]metadata.Run, 100000)
	for i := range runs {
		runs[i] = metadata.Run{Thin: metadata.ThinBlock(2 * i), Len: 1}
	}
	for _, left := range []int{0, 500, 1 << 20} {
		w := NewWriter(&failing{left}, Style1)
		err := errors.Join(w.Begin(metadata.Header{}), w.BeginDevice(1, metadata.Details{}), w.Runs(runs), w.EndDevice(), w.End())
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after %d bytes: err %v", left, err)
		}
	}
}

// Long text is written in order.
func TestWriteMuch(t *testing.T) {
	const n = 50000
	var got bytes.Buffer
	w := NewWriter(&got, Style1)
	runs := make([]metadata.Run, 0, 1000)
	errs := []error{w.Begin(metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: n}), w.BeginDevice(1, metadata.Details{MappedBlocks: n})}
	for i := 0; i < n; i += len(runs) {
		runs = runs[:0]
		for j := i; j < i+1000; j++ {
			runs = append(runs, metadata.Run{Thin: metadata.ThinBlock(j), Data: metadata.DataBlock(n - j - 1), Len: 1})
		}
		errs = append(errs, w.Runs(runs))
	}
	if err := errors.Join(append(errs, w.EndDevice(), w.End())...); err != nil {
		t.Fatal(err)
	}
	calls, err := readBoth(t, got.Bytes(), Options{})
	if err != nil || len(calls) != n+4 {
		t.Errorf("%d calls, want %d; err %v", len(calls), n+4, err)
	}
}

// Runs that continue each other are joined, however they are split into calls, but not across the
// boundaries of a def or a ref.
func TestWriteJoins(t *testing.T) {
	const n = 5000 // more than are formatted at a time
	var runs []metadata.Run
	var want strings.Builder
	for i := range uint64(n) {
		runs = append(runs, metadata.Run{Thin: metadata.ThinBlock(4 * i), Data: metadata.DataBlock(8 * i), Len: 1},
			metadata.Run{Thin: metadata.ThinBlock(4*i + 1), Data: metadata.DataBlock(8*i + 1), Len: 2})
		fmt.Fprintf(&want, "    <range_mapping origin_begin=\"%d\" data_begin=\"%d\" length=\"3\" time=\"0\"/>\n", 4*i, 8*i)
	}
	for _, size := range []int{1, 3, 1024, 2 * n} {
		var got bytes.Buffer
		w := NewWriter(&got, Style1)
		for part := range slices.Chunk(slices.Clone(runs), size) {
			if err := w.Runs(part); err != nil {
				t.Fatal(err)
			}
			clear(part) // it belongs to the caller again
		}
		if err := w.End(); err != nil || got.String() != want.String()+"</superblock>\n" {
			t.Errorf("in parts of %d: err %v, text differs", size, err)
		}
	}

	var got bytes.Buffer
	w := NewWriter(&got, Style1)
	err := errors.Join(w.BeginDef("1"), w.Runs(runs[:1]), w.EndDef(), w.BeginDevice(1, metadata.Details{}),
		w.Runs(runs[:1]), w.Ref("1"), w.Runs(runs[1:2]), w.EndDevice(), w.End())
	if err != nil || strings.Count(got.String(), "_mapping") != 3 {
		t.Errorf("err %v, want three mappings:\n%s", err, got.String())
	}
}

func BenchmarkWrite(b *testing.B) {
	runs := make([]metadata.Run, 1<<16)
	for i := range runs {
		runs[i] = metadata.Run{Thin: metadata.ThinBlock(1000000 + 2*i), Data: metadata.DataBlock(30000000 + i*7919%50000000), Len: 1, Time: 1}
	}
	w := NewWriter(io.Discard, Style1)
	b.SetBytes(int64(len(runs) * len(`    <single_mapping origin_block="1000000" data_block="30000000" time="1"/>`+"\n")))
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Runs(runs); err != nil {
			b.Fatal(err)
		}
	}
}
