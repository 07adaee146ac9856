package xmlfmt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/metadata"
)

// A recorder is a Visitor that writes down the calls. Runs that continue each
// other are one, however they came.
type recorder struct {
	calls []string
	last  metadata.Run
}

func (r *recorder) call(format string, args ...any) error {
	if r.last.Len > 0 {
		r.calls = append(r.calls, fmt.Sprintf("run %v", r.last))
		r.last = metadata.Run{}
	}
	if format != "" {
		r.calls = append(r.calls, fmt.Sprintf(format, args...))
	}
	return nil
}

func (r *recorder) Begin(h metadata.Header) error { return r.call("begin %+v", h) }
func (r *recorder) BeginDef(name string) error    { return r.call("def %q", name) }
func (r *recorder) EndDef() error                 { return r.call("end def") }
func (r *recorder) BeginDevice(id metadata.DevID, d metadata.Details) error {
	return r.call("device %d %+v", id, d)
}
func (r *recorder) Ref(name string) error { return r.call("ref %q", name) }
func (r *recorder) EndDevice() error      { return r.call("end device") }
func (r *recorder) End() error            { return r.call("end") }

func (r *recorder) Runs(runs []metadata.Run) error {
	for _, run := range runs {
		if r.last.Len > 0 && run.Continues(r.last) {
			r.last.Len += run.Len
			continue
		}
		r.call("")
		r.last = run
	}
	return nil
}

const (
	superblock = `<superblock uuid="" time="9" transaction="2" version="2" data_block_size="128" nr_data_blocks="1000">`
	device     = `<device dev_id="1" mapped_blocks="1" transaction="0" creation_time="0" snap_time="1">`
	single     = `<single_mapping origin_block="5" data_block="7" time="1"/>`
)

// in puts text into a device.
func in(text string) string { return superblock + device + text + "</device></superblock>" }

// readBoth reads text with the scanner and without, and demands that both agree.
func readBoth(t testing.TB, text []byte, opt Options) ([]string, error) {
	t.Helper()
	var fast, slow recorder
	errFast := Read(t.Context(), bytes.NewReader(text), &fast, opt)
	opt.reference = true
	errSlow := Read(t.Context(), bytes.NewReader(text), &slow, opt)
	if (errFast == nil) != (errSlow == nil) {
		t.Fatalf("scanner: %v; encoding/xml: %v\n%.500q", errFast, errSlow, text)
	}
	if errFast != nil {
		if errFast.Error() != errSlow.Error() {
			t.Errorf("scanner: %v; encoding/xml: %v", errFast, errSlow)
		}
		return nil, errFast
	}
	if diff := cmp.Diff(slow.calls, fast.calls); diff != "" {
		t.Fatalf("scanner (+) and encoding/xml (-) give different calls:\n%s", diff)
	}
	return fast.calls, nil
}

func TestReadOddities(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, tc := range map[string]struct{ text, wrong string }{
		"plain":                    {in(single), ""},
		"nothing inside":           {superblock + "</superblock>", ""},
		"declaration":              {`<?xml version="1.0" encoding="utf-8"?>` + "\n" + in(single), ""},
		"doctype":                  {"<!DOCTYPE superblock>\n" + in(single), ""},
		"byte order mark":          {"\xef\xbb\xbf" + in(single), ""},
		"comment before":           {"<!-- hello -->" + in(single), ""},
		"comment among mappings":   {in("<!-- " + single + " -->" + single), ""},
		"comment after":            {in(single) + "\n<!-- end -->\n", ""},
		"single quotes":            {strings.ReplaceAll(in(single), `"`, `'`), ""},
		"entity in a value":        {in(`<single_mapping origin_block="&#53;" data_block="7" time="1"/>`), ""},
		"other order":              {in(`<single_mapping time="1" data_block="7" origin_block="5"/>`), ""},
		"spaces around equals":     {in(`<single_mapping origin_block = "5" data_block="7" time="1" />`), ""},
		"lines inside a tag":       {in("<single_mapping\n origin_block=\"5\"\n data_block=\"7\"\n time=\"1\"\n/>"), ""},
		"end tag of its own":       {in(`<single_mapping origin_block="5" data_block="7" time="1"></single_mapping>`), ""},
		"end tag with a space":     {superblock + device + single + "</device ></superblock >", ""},
		"empty device element":     {superblock + strings.Replace(device, ">", "/>", 1) + "</superblock>", ""},
		"empty superblock element": {strings.Replace(superblock, ">", "/>", 1), ""},
		"carriage returns":         {strings.ReplaceAll(in("\n"+single+"\n"), "\n", "\r\n"), ""},
		"cdata of white space":     {in("<![CDATA[  ]]>" + single), ""},
		"leading zeros":            {in(`<single_mapping origin_block="005" data_block="07" time="01"/>`), ""},
		"length 0":                 {in(`<range_mapping origin_begin="5" data_begin="7" length="0" time="1"/>` + single), ""},
		"highest thin block":       {in(`<single_mapping origin_block="18446744073709551615" data_block="7" time="1"/>`), ""},
		"data block twice":         {in(single + `<single_mapping origin_block="6" data_block="7" time="1"/>`), ""},
		"no flags, no version":     {strings.Replace(in(single), ` version="2"`, "", 1), ""},
		"flags":                    {strings.Replace(in(single), ` version="2"`, ` flags="1" version="1"`, 1), ""},
		"uuid":                     {strings.Replace(in(single), `uuid=""`, `uuid="0123456789abcdef"`, 1), ""},
		"metadata_snap":            {strings.Replace(in(single), `time="9"`, `time="9" metadata_snap="7"`, 1), ""},
		"def after device":         {superblock + device + "</device>" + `<def name="x"></def></superblock>`, ""},
		"unused def":               {superblock + `<def name="x">` + single + "</def></superblock>", ""},
		"def and ref":              {superblock + `<def name="x">` + single + "</def>" + device + `<ref name="x"/></device></superblock>`, ""},

		"empty":                      {"", "the input is empty"},
		"white space only":           {" \n ", "the input is empty"},
		"text before":                {"hello " + in(single), "line 1, column 1: text"},
		"text inside":                {in("\n hello " + single), "line 2, column 2: text"},
		"cdata of text":              {in("<![CDATA[x]]>"), "text"},
		"entity as text":             {in("&lt;"), "text"},
		"text after":                 {in(single) + "x", "text"},
		"second superblock":          {in(single) + superblock + "</superblock>", "nothing may follow"},
		"cut in a tag":               {in(single)[:len(superblock)+len(device)+20], "ends early"},
		"cut between tags":           {superblock + device + single, "ends early"},
		"cut in a comment":           {in("<!-- ")[:len(superblock)+len(device)+5], "ends early"},
		"unknown element":            {in("<foo/>"), "<foo>: unknown element"},
		"element with a prefix":      {in("<x:single_mapping/>"), "<x:single_mapping>: unknown element"},
		"unknown attribute":          {in(`<single_mapping origin_block="5" data_block="7" time="1" foo="1"/>`), "unknown attribute foo"},
		"attribute twice":            {in(`<single_mapping origin_block="5" origin_block="5" data_block="7" time="1"/>`), "origin_block appears twice"},
		"attribute missing":          {in(`<single_mapping origin_block="5" time="1"/>`), "data_block is missing"},
		"negative":                   {in(`<single_mapping origin_block="-5" data_block="7" time="1"/>`), "want a number"},
		"fraction":                   {in(`<single_mapping origin_block="5.0" data_block="7" time="1"/>`), "want a number"},
		"empty number":               {in(`<single_mapping origin_block="" data_block="7" time="1"/>`), "want a number"},
		"65 bits":                    {in(`<single_mapping origin_block="18446744073709551616" data_block="7" time="1"/>`), "want a number"},
		"33 bits of time":            {in(`<single_mapping origin_block="5" data_block="7" time="4294967296"/>`), "want a number of at most 32 bits"},
		"25 bits of time":            {in(`<single_mapping origin_block="5" data_block="7" time="16777216"/>`), "time is 16777216"},
		"not ascending":              {in("\n" + single + "\n" + single), "line 3, column 1, <single_mapping>: device 1: thin block 5 comes after 5"},
		"beyond the data device":     {in(`<range_mapping origin_begin="5" data_begin="990" length="11" time="1"/>`), "data block 1000 is beyond"},
		"beyond all thin blocks":     {in(`<range_mapping origin_begin="18446744073709551615" data_begin="9" length="2" time="1"/>`), "more than the format can number"},
		"mapping outside a device":   {superblock + single + "</superblock>", "misplaced"},
		"mapping in a mapping":       {in(`<single_mapping origin_block="5" data_block="7" time="1">` + single), "can have no content"},
		"device in a device":         {in(device), "misplaced"},
		"ref in a def":               {superblock + `<def name="x"></def><def name="y"><ref name="x"/></def></superblock>`, "cannot refer"},
		"def in a def":               {superblock + `<def name="x"><def name="y"></def></def></superblock>`, "misplaced"},
		"ref to nothing":             {in(`<ref name="x"/>`), "not defined"},
		"def twice":                  {superblock + `<def name="x"></def><def name="x"></def></superblock>`, "defined twice"},
		"device twice":               {superblock + device + "</device>" + device + "</device></superblock>", "appears twice"},
		"device id of 25 bits":       {strings.Replace(in(single), `dev_id="1"`, `dev_id="16777216"`, 1), "device id is 16777216"},
		"wrong end tag":              {superblock + device + "</superblock>", "without its start"},
		"end tag alone":              {superblock + "</device></superblock>", "without its start"},
		"block size of 100":          {strings.Replace(in(single), `data_block_size="128"`, `data_block_size="100"`, 1), "data_block_size is 100"},
		"version 3":                  {strings.Replace(in(single), `version="2"`, `version="3"`, 1), "version is 3"},
		"uuid too long":              {strings.Replace(in(single), `uuid=""`, `uuid="`+long+`"`, 1), "uuid has 300 bytes"},
		"doctype inside":             {in("<!DOCTYPE x>"), "declaration"},
		"less-than in a value":       {in(`<ref name="<"/>`), "unescaped"},
		"unknown entity":             {in(`<ref name="&foo;"/>`), "entity"},
		"other encoding":             {`<?xml version="1.0" encoding="utf-16"?>` + in(single), "encoding"},
		"no quotes":                  {in(`<ref name=x/>`), "quoted"},
		"control character":          {in("<ref name=\"\x01\"/>"), "illegal"},
		"binary metadata":            {string(make([]byte, 32)) + "\xba\x52\x9c\x01\x00\x00\x00\x00", "binary metadata"},
		"comment beyond all measure": {in("<!--" + strings.Repeat(" ", longestToken) + "-->"), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			calls, err := readBoth(t, []byte(tc.text), Options{})
			switch {
			case tc.wrong == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.wrong == "" && calls[len(calls)-1] != "end":
				t.Errorf("calls end with %q", calls[len(calls)-1])
			case tc.wrong != "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tc.wrong))):
				t.Errorf("err %v, want one with %q", err, tc.wrong)
			}
		})
	}
}

func TestReadCalls(t *testing.T) {
	text := superblock + `
  <def name="19">
    <range_mapping origin_begin="0" data_begin="0" length="3" time="0"/>
  </def>
  <device dev_id="7" mapped_blocks="5" transaction="1" creation_time="2" snap_time="3">
    <ref name="19"/>
    ` + single + `
  </device>
</superblock>
`
	var notes []string
	calls, err := readBoth(t, []byte(text), Options{Note: func(n string) { notes = append(notes, n) }})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("begin %+v", metadata.Header{Time: 9, TransactionID: 2, Version: 2, DataBlockSize: 128, NrDataBlocks: 1000}),
		`def "19"`, "run thin 0..2 -> data 0..2 at time 0", "end def",
		fmt.Sprintf("device 7 %+v", metadata.Details{MappedBlocks: 5, TransactionID: 1, CreationTime: 2, SnapshottedTime: 3}),
		`ref "19"`, "run thin 5 -> data 7 at time 1", "end device", "end",
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(notes) == 0 || !strings.Contains(notes[0], "mapped_blocks is 5, but 4") {
		t.Errorf("notes: %q", notes)
	}
}

func TestReadOverrides(t *testing.T) {
	n, small := uint64(5000), uint64(7)
	calls, err := readBoth(t, []byte(in(single)), Options{Overrides: metadata.Overrides{NrDataBlocks: &n, TransactionID: &small}})
	if err != nil || !strings.Contains(calls[0], "TransactionID:7 ") || !strings.Contains(calls[0], "NrDataBlocks:5000") {
		t.Errorf("err %v, header %q", err, calls)
	}
	if _, err := readBoth(t, []byte(in(single)), Options{Overrides: metadata.Overrides{NrDataBlocks: &small}}); err == nil {
		t.Error("a mapping beyond the new size is accepted")
	}
}

// Texts longer than a piece, in which elements and comments lie on the borders.
func TestReadLong(t *testing.T) {
	var text strings.Builder
	text.WriteString(superblock + device)
	for i := range 30000 {
		fmt.Fprintf(&text, "\n    <single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"1\"/>", 2*i, i%1000)
		if i%700 == 0 {
			fmt.Fprintf(&text, "<!-- %s > %s -->", single, strings.Repeat("-x ", i/10))
		}
	}
	text.WriteString("</device></superblock>")
	calls, err := readBoth(t, []byte(text.String()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := 30000 + 4; len(calls) != want {
		t.Errorf("%d calls, want %d", len(calls), want)
	}
	wrong := strings.Replace(text.String(), `origin_block="59990"`, `origin_block="5"`, 1)
	_, err = readBoth(t, []byte(wrong), Options{})
	if syntax, ok := errors.AsType[*SyntaxError](err); !ok || syntax.Line != 29997 || syntax.Column != 5 && syntax.Line%700 != 0 {
		t.Errorf("err %v, want one in line 29997", err)
	}
}

func TestReadFailures(t *testing.T) {
	broken := io.MultiReader(strings.NewReader(superblock+device), iotest.ErrReader(io.ErrClosedPipe))
	if err := Read(t.Context(), broken, new(recorder), Options{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("err %v, want that of the reader", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Read(ctx, strings.NewReader(in(single)), new(recorder), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v, want context.Canceled", err)
	}
	if err := Read(t.Context(), iotest.OneByteReader(strings.NewReader(in(single))), new(recorder), Options{}); err != nil {
		t.Error(err)
	}
}

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

// What is written reads back as the same calls.
func TestWriteRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var want recorder
		var text bytes.Buffer
		w := NewWriter(&text, Style1)
		defer w.Close()
		drawn(rt, both{&want, w})
		got, err := readBoth(t, text.Bytes(), Options{})
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want.calls, got); diff != "" {
			rt.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// both hands calls on to two visitors.
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
	f.Add([]byte("<?xml version='1.0'?><!-- c -->" + in("<range_mapping origin_begin='1' data_begin=\"2\" length=\"3\" time=\"0\"></range_mapping>")))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = readBoth(t, text, Options{})
	})
}

func BenchmarkRead(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(superblock + device)
	for i := range 100000 {
		fmt.Fprintf(&text, "\n    <single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"1\"/>", 2*i, i%1000)
	}
	text.WriteString("</device></superblock>")
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := Read(b.Context(), bytes.NewReader(text.Bytes()), nobody{}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// nobody is a Visitor that does nothing.
type nobody struct{}

func (nobody) Begin(metadata.Header) error                        { return nil }
func (nobody) BeginDef(string) error                              { return nil }
func (nobody) EndDef() error                                      { return nil }
func (nobody) BeginDevice(metadata.DevID, metadata.Details) error { return nil }
func (nobody) Ref(string) error                                   { return nil }
func (nobody) Runs([]metadata.Run) error                          { return nil }
func (nobody) EndDevice() error                                   { return nil }
func (nobody) End() error                                         { return nil }
