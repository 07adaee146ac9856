package xmlfmt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/metadata"
)

const (
	superblock = `<superblock uuid="" time="9" transaction="2" version="2" data_block_size="128" nr_data_blocks="1000">`
	device     = `<device dev_id="1" mapped_blocks="1" transaction="0" creation_time="0" snap_time="1">`
	single     = `<single_mapping origin_block="5" data_block="7" time="1"/>`
)

// in puts text into a device.
func in(text string) string { return superblock + device + text + "</device></superblock>" }

// read reads text and returns the resulting calls and notes.
func read(t testing.TB, text []byte, opt Options) ([]string, error) {
	var r fixtures.Recorder
	opt.Note = func(note string) { r.Note("note %s", note) }
	err := Read(t.Context(), bytes.NewReader(text), &r, opt)
	return r.Calls, err
}

// readBoth reads text with the scanner, in large and in small pieces, and without it. All results
// must agree.
func readBoth(t testing.TB, text []byte, opt Options) ([]string, error) {
	t.Helper()
	opt.reference = true
	want, wantErr := read(t, text, opt)
	opt.reference = false
	for _, opt.pieceSize = range []int{0, 99} {
		got, err := read(t, text, opt)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("scanner, pieces of %d: %v; encoding/xml: %v\n%.500q", opt.pieceSize, err, wantErr, text)
		}
		if err == nil && !slices.Equal(want, got) {
			t.Fatalf("scanner, pieces of %d (+), and encoding/xml (-) give different calls:\n%s", opt.pieceSize, cmp.Diff(want, got))
		}
	}
	return want, wantErr
}

// Equivalent forms have the same result. Errors are refused with their position.
func TestReadOddities(t *testing.T) {
	long := strings.Repeat("x", 300)
	want, err := readBoth(t, []byte(in(single)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ text, wrong string }{
		"plain":                   {in(single), ""},
		"declaration":             {`<?xml version="1.0" encoding="utf-8"?>` + "\n" + in(single), ""},
		"doctype":                 {"<!DOCTYPE superblock>\n" + in(single), ""},
		"ascii":                   {`<?xml version="1.0" encoding="US-ASCII"?>` + in(single), ""},
		"declaration after space": {"\n<?xml version='1.0'?>" + in(single), ""},
		"processing instruction":  {in("<?editor here?>" + single), ""},
		"byte order mark":         {"\xef\xbb\xbf" + in(single), ""},
		"comment before":          {"<!-- hello -->" + in(single), ""},
		"comment among mappings":  {in("<!-- " + single + " -->" + single), ""},
		"comment after":           {in(single) + "\n<!-- end -->\n", ""},
		"single quotes":           {strings.ReplaceAll(in(single), `"`, `'`), ""},
		"entity in a value":       {in(`<single_mapping origin_block="&#53;" data_block="7" time="1"/>`), ""},
		"other order":             {in(`<single_mapping time="1" data_block="7" origin_block="5"/>`), ""},
		"spaces around equals":    {in(`<single_mapping origin_block = "5" data_block="7" time="1" />`), ""},
		"lines inside a tag":      {in("<single_mapping\n origin_block=\"5\"\n data_block=\"7\"\n time=\"1\"\n/>"), ""},
		"end tag of its own":      {in(`<single_mapping origin_block="5" data_block="7" time="1"></single_mapping>`), ""},
		"end tag with a space":    {superblock + device + single + "</device ></superblock >", ""},
		"carriage returns":        {strings.ReplaceAll(in("\n"+single+"\n"), "\n", "\r\n"), ""},
		"cdata of white space":    {in("<![CDATA[  ]]>" + single), ""},
		"leading zeros":           {in(`<single_mapping origin_block="005" data_block="07" time="01"/>`), ""},
		"length 0":                {in(`<range_mapping origin_begin="5" data_begin="7" length="0" time="1"/>` + single), ""},

		"empty":                      {"", "line 1, column 1: the input is empty, want XML"},
		"white space only":           {" \n ", "line 2, column 2: the input ends without a <superblock>"},
		"text before":                {"hello " + in(single), "line 1, column 1: unexpected text between elements"},
		"text inside":                {in("\n hello " + single), "line 2, column 2: unexpected text between elements"},
		"cdata of text":              {in("<![CDATA[x]]>"), "line 1, column 187: unexpected text between elements"},
		"entity as text":             {in("&lt;"), "line 1, column 187: unexpected text between elements"},
		"text after":                 {in(single) + "x", "line 1, column 267: unexpected text between elements"},
		"second superblock":          {in(single) + superblock + "</superblock>", "line 1, column 267, <superblock>: nothing may follow the end of the superblock"},
		"cut in a tag":               {in(single)[:len(superblock)+len(device)+20], "line 1, column 187: the input ends early: </superblock> is missing"},
		"cut between tags":           {superblock + device + single, "line 1, column 245: the input ends early: </superblock> is missing"},
		"cut in a comment":           {in("<!-- ")[:len(superblock)+len(device)+5], "line 1, column 187: the input ends early: </superblock> is missing"},
		"unknown element":            {in("<foo/>"), "line 1, column 187, <foo>: unknown element"},
		"element with a prefix":      {in("<x:single_mapping/>"), "line 1, column 187, <x:single_mapping>: unknown element"},
		"unknown attribute":          {in(`<single_mapping origin_block="5" data_block="7" time="1" foo="1"/>`), "line 1, column 187, <single_mapping>: unknown attribute foo"},
		"attribute twice":            {in(`<single_mapping origin_block="5" origin_block="5" data_block="7" time="1"/>`), "line 1, column 187, <single_mapping>: attribute origin_block appears twice"},
		"attribute missing":          {in(`<single_mapping origin_block="5" time="1"/>`), "line 1, column 187, <single_mapping>: attribute data_block is missing"},
		"negative":                   {in(`<single_mapping origin_block="-5" data_block="7" time="1"/>`), `line 1, column 187, <single_mapping>: attribute origin_block is "-5", want a decimal number of at most 64 bits`},
		"fraction":                   {in(`<single_mapping origin_block="5.0" data_block="7" time="1"/>`), `line 1, column 187, <single_mapping>: attribute origin_block is "5.0", want a decimal number of at most 64 bits`},
		"empty number":               {in(`<single_mapping origin_block="" data_block="7" time="1"/>`), `line 1, column 187, <single_mapping>: attribute origin_block is "", want a decimal number of at most 64 bits`},
		"65 bits":                    {in(`<single_mapping origin_block="18446744073709551616" data_block="7" time="1"/>`), `line 1, column 187, <single_mapping>: attribute origin_block is "18446744073709551616", want a decimal number of at most 64 bits`},
		"33 bits of time":            {in(`<single_mapping origin_block="5" data_block="7" time="4294967296"/>`), `line 1, column 187, <single_mapping>: attribute time is "4294967296", want a decimal number of at most 32 bits`},
		"25 bits of time":            {in(`<single_mapping origin_block="5" data_block="7" time="16777216"/>`), "line 1, column 187, <single_mapping>: device 1: thin block 5: time is 16777216, want at most 16777215"},
		"not ascending":              {in("\n" + single + "\n" + single), "line 3, column 1, <single_mapping>: device 1: thin block 5 follows 5, but thin blocks must be in ascending order"},
		"beyond the data device":     {in(`<range_mapping origin_begin="5" data_begin="990" length="11" time="1"/>`), "line 1, column 187, <range_mapping>: device 1: thin block 15: data block 1000 is beyond the data device, which has 1000"},
		"beyond all thin blocks":     {in(`<range_mapping origin_begin="18446744073709551615" data_begin="9" length="2" time="1"/>`), "line 1, column 187, <range_mapping>: device 1: thin blocks from 18446744073709551615 on (2 of them): more than the format allows"},
		"mapping outside a device":   {superblock + single + "</superblock>", "line 1, column 102, <single_mapping>: misplaced: want <def>, <device> or </superblock>"},
		"mapping in a mapping":       {in(`<single_mapping origin_block="5" data_block="7" time="1">` + single), "line 1, column 244, <single_mapping>: <single_mapping> must be empty"},
		"device in a device":         {in(device), "line 1, column 187, <device>: misplaced: want a mapping, <ref> or the end of the element"},
		"ref in a def":               {superblock + `<def name="x"></def><def name="y"><ref name="x"/></def></superblock>`, "line 1, column 136, <ref>: a def cannot refer to another"},
		"def in a def":               {superblock + `<def name="x"><def name="y"></def></def></superblock>`, "line 1, column 116, <def>: misplaced: want a mapping, <ref> or the end of the element"},
		"ref to nothing":             {in(`<ref name="x"/>`), `line 1, column 187, <ref>: device 1 refers to "x", which is not defined before it`},
		"def twice":                  {superblock + `<def name="x"></def><def name="x"></def></superblock>`, `line 1, column 122, <def>: def "x" is defined twice`},
		"device twice":               {superblock + device + "</device>" + device + "</device></superblock>", "line 1, column 196, <device>: device 1 appears twice"},
		"device id of 25 bits":       {strings.Replace(in(single), `dev_id="1"`, `dev_id="16777216"`, 1), "line 1, column 102, <device>: device id is 16777216, want at most 16777215"},
		"wrong end tag":              {superblock + device + "</superblock>", "line 1, column 187, <superblock>: </superblock> instead of </device>"},
		"end tag alone":              {superblock + "</device></superblock>", "line 1, column 102, <device>: </device> instead of </superblock>"},
		"block size of 100":          {strings.Replace(in(single), `data_block_size="128"`, `data_block_size="100"`, 1), "line 1, column 1, <superblock>: data_block_size is 100 sectors, want a multiple of 128 from 128 to 2097152"},
		"version 3":                  {strings.Replace(in(single), `version="2"`, `version="3"`, 1), "line 1, column 1, <superblock>: version is 3, want 1 or 2"},
		"uuid too long":              {strings.Replace(in(single), `uuid=""`, `uuid="`+long+`"`, 1), "line 1, column 1, <superblock>: uuid has 300 bytes, want at most 16"},
		"doctype inside":             {in("<!DOCTYPE x>"), "line 1, column 187: a declaration may only stand before the superblock"},
		"less-than in a value":       {in(`<ref name="<"/>`), "line 1, column 187: unescaped < inside quoted string"},
		"unknown entity":             {in(`<ref name="&foo;"/>`), "line 1, column 187: invalid character entity &foo;"},
		"other encoding":             {`<?xml version="1.0" encoding="utf-16"?>` + in(single), "line 1, column 1: opening charset \"utf-16\": want UTF-8"},
		"no quotes":                  {in(`<ref name=x/>`), "line 1, column 187: unquoted or missing attribute value in element"},
		"control character":          {in("<ref name=\"\x01\"/>"), "line 1, column 187: illegal character code U+0001"},
		"binary metadata":            {string(make([]byte, 32)) + "\xba\x52\x9c\x01\x00\x00\x00\x00", "this is binary metadata, not XML: use thin_dump to turn it into XML"},
		"second declaration":         {superblock + `<?xml version="1.0"?></superblock>`, "line 1, column 102: a declaration may only stand before the superblock"},
		"name without end":           {in(`<ref name="` + long + `"/>`), "line 1, column 187, <ref>: attribute name has 300 bytes, want at most 255"},
		"long unknown element":       {in("<" + long + "/>"), "line 1, column 187, <xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...>: unknown element"},
		"long wrong end":             {in("</" + long + ">"), "line 1, column 187, <xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...>: </xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...> instead of </device>"},
		"end tag with attributes":    {superblock + `</superblock x="1">`, "line 1, column 102: invalid characters between </superblock and >"},
		"text between superblocks":   {in(single) + "\n\n  junk", "line 3, column 3: unexpected text between elements"},
		"uuid missing a quote":       {strings.Replace(in(single), `uuid=""`, `uuid="`, 1), "line 1, column 1: invalid XML name: 9"},
		"33 bits of device id":       {strings.Replace(in(single), `dev_id="1"`, `dev_id="4294967297"`, 1), `line 1, column 102, <device>: attribute dev_id is "4294967297", want a decimal number of at most 32 bits`},
		"plus":                       {in(`<single_mapping origin_block="+5" data_block="7" time="1"/>`), `line 1, column 187, <single_mapping>: attribute origin_block is "+5", want a decimal number of at most 64 bits`},
		"hexadecimal":                {in(`<single_mapping origin_block="0x5" data_block="7" time="1"/>`), `line 1, column 187, <single_mapping>: attribute origin_block is "0x5", want a decimal number of at most 64 bits`},
		"space in a number":          {in(`<single_mapping origin_block=" 5" data_block="7" time="1"/>`), `line 1, column 187, <single_mapping>: attribute origin_block is " 5", want a decimal number of at most 64 bits`},
		"comment only":               {"<!-- nothing -->", "line 1, column 17: the input ends without a <superblock>"},
		"leaf left open":             {superblock + `<def name="x"></def>` + device + `<ref name="x"></device></superblock>`, "line 1, column 221, <device>: </device> instead of </ref>"},
		"utf-16":                     {"\xff\xfe<\x00s\x00u\x00", "line 1, column 1: unexpected text between elements"},
		"entity of its own":          {`<!DOCTYPE x [<!ENTITY five "5">]>` + in(`<single_mapping origin_block="&five;" data_block="7" time="1"/>`), "line 1, column 220: invalid character entity &five;"},
		"ref below what is mapped":   {superblock + `<def name="x">` + single + "</def>" + device + single + "\n" + `<ref name="x"/></device></superblock>`, `line 2, column 1, <ref>: device 1: def "x" starts at thin block 5, not after 5 before it`},
		"mapping below a ref":        {superblock + `<def name="x">` + single + "</def>" + device + "\n" + `<ref name="x"/>` + single + "</device></superblock>", "line 2, column 16, <single_mapping>: device 1: thin block 5 follows 5, but thin blocks must be in ascending order"},
		"pool of no time":            {strings.Replace(in(single), ` time="9"`, "", 1), "line 1, column 1, <superblock>: attribute time is missing"},
		"time of a device":           {strings.Replace(in(single), `snap_time="1"`, `snap_time="16777216"`, 1), "line 1, column 102, <device>: device 1 has the times 0 and 16777216, want at most 16777215"},
		"lower in the second device": {in(single + "</device>" + strings.Replace(device, `"1"`, `"2"`, 1) + "\n  " + single + "\r\n  " + single), "line 3, column 3, <single_mapping>: device 2: thin block 5 follows 5, but thin blocks must be in ascending order"},
		"comment beyond all measure": {in("<!--" + strings.Repeat(" ", longestToken) + "-->"), "line 1, column 187: an element or comment is longer than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			calls, err := readBoth(t, []byte(tc.text), Options{})
			if tc.wrong != "" {
				if err == nil || err.Error() != tc.wrong {
					t.Errorf("err  %v\nwant %s", err, tc.wrong)
				}
				return
			}
			if diff := cmp.Diff(want, calls); diff != "" || err != nil {
				t.Errorf("err %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// Cases that the table of calls for in(single) does not show.
func TestReadContent(t *testing.T) {
	header := func(old, new string) string { return strings.Replace(in(single), old, new, 1) }
	for name, tc := range map[string]struct{ text, want string }{
		"nothing inside":           {superblock + "</superblock>", "DataBlockSize:128 NrDataBlocks:1000}\nend"},
		"empty superblock element": {strings.Replace(superblock, ">", "/>", 1), "DataBlockSize:128 NrDataBlocks:1000}\nend"},
		"empty device element":     {superblock + strings.Replace(device, ">", "/>", 1) + "</superblock>", "using 0\nend device\nend"},
		"highest thin block":       {in(`<single_mapping origin_block="18446744073709551615" data_block="7" time="1"/>`), "run thin 18446744073709551615 -> data 7"},
		"data block twice":         {in(single + `<single_mapping origin_block="6" data_block="7" time="1"/>`), "run thin 5 -> data 7 at time 1\nrun thin 6 -> data 7 at time 1"},
		"runs that continue":       {in(single + `<range_mapping origin_begin="6" data_begin="8" length="2" time="1"/>`), "run thin 5..7 -> data 7..9 at time 1"},
		"flags":                    {header(` version="2"`, ` flags="3" version="2"`), "Flags:3 Version:2"},
		"no flags, no version":     {header(` version="2"`, ""), "Flags:0 Version:2"},
		"version 1":                {header(`version="2"`, `version="1"`), "Version:1"},
		"uuid":                     {header(`uuid=""`, `uuid="0&lt;"`), "UUID:[48 60 0 "},
		"uuid of 16 bytes":         {header(`uuid=""`, `uuid="0123456789abcdef"`), "101 102] Time:9"},
		"metadata_snap":            {header(`time="9"`, `time="9" metadata_snap="7"`), `note metadata_snap="7" is ignored`},
		"metadata_snap of 0":       {header(`time="9"`, `time="9" metadata_snap="0"`), "NrDataBlocks:1000}\ndevice 1"},
		"unknown size":             {header(`blocks="1000"`, `blocks="0"`), "NrDataBlocks:0}"},
		"def after device":         {superblock + device + "</device>" + `<def name="x"></def></superblock>`, "end device\ndef \"x\"\nend def"},
		"unused def":               {superblock + `<def name="x">` + single + "</def></superblock>", "run thin 5 -> data 7 at time 1\nend def\nend"},
		"odd name":                 {superblock + `<def name="&#233;&#34;"/>` + device + `<ref name='é"'/></device></superblock>`, `ref "é\""`},
	} {
		t.Run(name, func(t *testing.T) {
			calls, err := readBoth(t, []byte(tc.text), Options{})
			if got := strings.Join(calls, "\n"); err != nil || !strings.Contains(got, tc.want) {
				t.Errorf("err %v, want %q in\n%s", err, tc.want, got)
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
	calls, err := readBoth(t, []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprintf("begin %+v", metadata.Header{Time: 9, TransactionID: 2, Version: 2, DataBlockSize: 128, NrDataBlocks: 1000}),
		`def "19"`, "run thin 0..2 -> data 0..2 at time 0", "end def",
		fmt.Sprintf("device 7 %+v", metadata.Details{MappedBlocks: 5, TransactionID: 1, CreationTime: 2, SnapshottedTime: 3}),
		`ref "19"`, "run thin 5 -> data 7 at time 1",
		"note device 7: mapped_blocks is 5, but 4 blocks are mapped; using 4", "end device", "end",
	}
	if diff := cmp.Diff(want, calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
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

// Texts longer than a piece, with elements and comments at the boundaries.
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
	if want := 30000 + 5; len(calls) != want {
		t.Errorf("%d calls, want %d", len(calls), want)
	}
	wrong := strings.Replace(text.String(), `origin_block="59990"`, `origin_block="5"`, 1)
	_, err = readBoth(t, []byte(wrong), Options{})
	if syntax, ok := errors.AsType[*SyntaxError](err); !ok || syntax.Line != 29997 || syntax.Column != 5 && syntax.Line%700 != 0 {
		t.Errorf("err %v, want one in line 29997", err)
	}
}

// The first piece of binary metadata may have a '>' anywhere.
func TestReadBinary(t *testing.T) {
	for at := range 60 {
		b := make([]byte, 1<<20)
		binary.LittleEndian.PutUint64(b[offMagic:], metadata.Magic)
		if at < offMagic || at >= offMagic+8 {
			b[at] = '>'
		}
		_, err := readBoth(t, b, Options{})
		if err == nil || !strings.Contains(err.Error(), "this is binary metadata, not XML") {
			t.Fatalf("'>' at byte %d: err %v", at, err)
		}
	}
}

// The visitor's End is only called if the whole text is right.
func TestReadNoEnd(t *testing.T) {
	for _, after := range []string{"x", superblock, "<!-- ", "</superblock>"} {
		var r fixtures.Recorder
		if err := Read(t.Context(), strings.NewReader(in(single)+after), &r, Options{}); err == nil || r.Calls[len(r.Calls)-1] != "end device" {
			t.Errorf("after %q: err %v, last call %q", after, err, r.Calls[len(r.Calls)-1])
		}
	}
}

// Errors from the visitor, including from End, are reported with their position.
func TestReadRefusedByVisitor(t *testing.T) {
	for name, want := range map[string]string{
		"Begin":  "line 1, column 1, <superblock>: no",
		"Ref":    "line 1, column 203, <ref>: no",
		"Device": "line 1, column 118, <device>: no",
		"End":    "line 1, column 298, <superblock>: no",
	} {
		text := superblock + `<def name="x"/>` + " " + device + `<ref name="x"/>` + single + "</device></superblock>"
		err := Read(t.Context(), strings.NewReader(text), refusing{call: name}, Options{})
		if syntax, ok := errors.AsType[*SyntaxError](err); !ok || !strings.Contains(err.Error(), want) || !errors.Is(syntax, errRefused) {
			t.Errorf("%s: err %v, want %s", name, err, want)
		}
	}
}

var errRefused = errors.New("no")

// A refusing Visitor refuses one call.
type refusing struct {
	ignorer
	call string
}

func (v refusing) refuse(call string) error {
	if call == v.call {
		return errRefused
	}
	return nil
}
func (v refusing) Begin(metadata.Header) error                        { return v.refuse("Begin") }
func (v refusing) Ref(string) error                                   { return v.refuse("Ref") }
func (v refusing) BeginDevice(metadata.DevID, metadata.Details) error { return v.refuse("Device") }
func (v refusing) End() error                                         { return v.refuse("End") }

// Read errors are returned unchanged, wherever they occur.
func TestReadFailures(t *testing.T) {
	for name, text := range map[string]string{
		"at once": "", "between tags": superblock + device, "in a tag": superblock + "<dev", "in a comment": "<!-- ", "after all": in(single),
	} {
		broken := io.MultiReader(strings.NewReader(text), iotest.ErrReader(io.ErrClosedPipe))
		if err := Read(t.Context(), broken, new(fixtures.Recorder), Options{}); err != io.ErrClosedPipe {
			t.Errorf("%s: err %v, want that of the reader", name, err)
		}
	}
	for _, r := range []io.Reader{iotest.OneByteReader(strings.NewReader(in(single))), iotest.DataErrReader(strings.NewReader(in(single)))} {
		if err := Read(t.Context(), r, new(fixtures.Recorder), Options{}); err != nil {
			t.Error(err)
		}
	}
}

// No goroutine outlives Read or continues to read: synctest fails if one is left when its function
// ends.
func TestReadStops(t *testing.T) {
	for name, text := range map[string]string{
		"right": in(single), "wrong at the end": in("x"), "wrong early": unbounded + device + "x" + many(1<<16, "/>"),
	} {
		synctest.Test(t, func(t *testing.T) {
			r := strings.NewReader(text)
			err := Read(t.Context(), r, ignorer{}, Options{})
			r.Reset("") // the race detector notices anybody still reading
			if (err == nil) != (name == "right") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// Read returns when ctx is done, even if nothing is written to the pipe it reads.
func TestReadCancelled(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "in the middle": unbounded + device + many(1<<15, "/>")} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r, w := io.Pipe()
			defer w.Close()
			go func() {
				io.WriteString(w, text)
				synctest.Wait() // until Read has read everything available
				cancel()
			}()
			if err := Read(ctx, r, ignorer{}, Options{}); err != context.Canceled {
				t.Errorf("%s: err %v, want context.Canceled", name, err)
			}
		})
	}
}
