package xmlfmt

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/metadata"
)

// drawn makes the calls of a random description.
func drawn(t *rapid.T, v metadata.Visitor) {
	v.Begin(metadata.Header{Time: 9, TransactionID: rapid.Uint64().Draw(t, "transaction"), Version: 2, DataBlockSize: 128, NrDataBlocks: 1 << 40})
	runs := func() {
		at := uint64(0)
		for range rapid.IntRange(0, 20).Draw(t, "runs") {
			r := metadata.Run{
				Thin: metadata.ThinBlock(at + rapid.Uint64Range(0, math.MaxUint64/64).Draw(t, "gap")), Data: metadata.DataBlock(rapid.Uint64Range(0, 1<<39).Draw(t, "data")),
				Len: rapid.Uint64Range(1, 3).Draw(t, "length"), Time: rapid.Uint32Range(0, metadata.MaxTime).Draw(t, "time"),
			}
			at = uint64(r.Thin) + r.Len
			v.Runs([]metadata.Run{r})
		}
	}
	defs := rapid.IntRange(0, 2).Draw(t, "defs")
	for i := range defs {
		v.BeginDef(fmt.Sprint(i))
		runs()
		v.EndDef()
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "devices") {
		v.BeginDevice(metadata.DevID(i), metadata.Details{CreationTime: 3})
		if defs > 0 && rapid.Bool().Draw(t, "ref") {
			v.Ref("0")
		} else {
			runs()
		}
		v.EndDevice()
	}
	v.End()
}

// Written dumps read back as the same calls.
func TestWriteRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var want fixtures.Recorder
		var text bytes.Buffer
		w := NewWriter(&text, Style1)
		drawn(rt, both{&want, w})
		got, err := readBoth(t, text.Bytes(), Options{})
		if err != nil {
			rt.Fatal(err)
		}
		got = slices.DeleteFunc(got, func(call string) bool { return strings.HasPrefix(call, "note ") })
		if diff := cmp.Diff(want.Calls, got); diff != "" {
			rt.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// both passes calls on to two visitors.
type both struct{ a, b metadata.Visitor }

func (v both) Begin(h metadata.Header) error { return errors.Join(v.a.Begin(h), v.b.Begin(h)) }
func (v both) BeginDef(n string) error       { return errors.Join(v.a.BeginDef(n), v.b.BeginDef(n)) }
func (v both) EndDef() error                 { return errors.Join(v.a.EndDef(), v.b.EndDef()) }
func (v both) Ref(n string) error            { return errors.Join(v.a.Ref(n), v.b.Ref(n)) }
func (v both) Runs(r []metadata.Run) error   { return errors.Join(v.a.Runs(r), v.b.Runs(r)) }
func (v both) EndDevice() error              { return errors.Join(v.a.EndDevice(), v.b.EndDevice()) }
func (v both) End() error                    { return errors.Join(v.a.End(), v.b.End()) }
func (v both) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return errors.Join(v.a.BeginDevice(id, d), v.b.BeginDevice(id, d))
}

// The scanner and encoding/xml agree on any input.
func FuzzRead(f *testing.F) {
	f.Add([]byte(in(single)))
	f.Add([]byte(superblock + `<def name="x">` + single + "</def>" + device + `<ref name="x"/></device></superblock>`))
	f.Add([]byte("\xef\xbb\xbf<!DOCTYPE superblock>\r\n" + unbounded + device + many(4, "/>") + many(4, "></single_mapping>") + "</device ></superblock>"))
	f.Add([]byte(in(`<range_mapping time="&#49;" length="0" data_begin="1" origin_begin="18446744073709551615" /><![CDATA[ ]]>`)))
	f.Add([]byte("<?xml version='1.0'?><!-- c -->" + in("<range_mapping origin_begin='1' data_begin=\"2\" length=\"3\" time=\"0\"></range_mapping>")))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = readBoth(t, text, Options{})
	})
}

// unbounded is a superblock without a number of data blocks.
var unbounded = strings.Replace(superblock, `"1000"`, `"0"`, 1)

// many is n mappings, one per line, each ending in end. The numbers are as long as in a dump, and
// as hard to predict.
func many(n int, end string) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "\n    <single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"1\"%s", 1000000+2*i, 30000000+i*7919%50000000, end)
	}
	return text.String()
}

func BenchmarkRead(b *testing.B) {
	var devices strings.Builder
	for i := range 10000 {
		fmt.Fprintf(&devices, "\n  <device dev_id=\"%d\" mapped_blocks=\"1\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">%s\n  </device>", i, many(1, "/>"))
	}
	for _, bm := range []struct{ name, text string }{
		{"mappings", unbounded + device + many(100000, "/>") + "</device></superblock>"},
		{"devices", unbounded + devices.String() + "</superblock>"},
		{"foreign", unbounded + device + many(10000, " />") + "</device></superblock>"}, // as ElementTree writes
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.SetBytes(int64(len(bm.text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Read(b.Context(), strings.NewReader(bm.text), ignorer{}, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// ignorer is a Visitor that does nothing.
type ignorer struct{}

func (ignorer) Begin(metadata.Header) error                        { return nil }
func (ignorer) BeginDef(string) error                              { return nil }
func (ignorer) EndDef() error                                      { return nil }
func (ignorer) BeginDevice(metadata.DevID, metadata.Details) error { return nil }
func (ignorer) Ref(string) error                                   { return nil }
func (ignorer) Runs([]metadata.Run) error                          { return nil }
func (ignorer) EndDevice() error                                   { return nil }
func (ignorer) End() error                                         { return nil }
