package jsonfmt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"thinpool/fixtures"
	"thinpool/metadata"
)

// describe makes the calls of a small dump.
func describe(v metadata.Visitor) error {
	return errors.Join(
		v.Begin(metadata.Header{UUID: [16]byte{1, 2}, Time: 1, TransactionID: 2, Flags: 1, Version: 2, DataBlockSize: 128, NrDataBlocks: 16384}),
		v.BeginDef("19"), v.Runs([]metadata.Run{{Thin: 0, Data: 0, Len: 1000}}), v.Runs([]metadata.Run{{Thin: 1000, Data: 1000, Len: 600}}), v.EndDef(),
		v.BeginDevice(1, metadata.Details{MappedBlocks: 1601, SnapshottedTime: 1}), v.Ref("19"),
		v.Runs([]metadata.Run{{Thin: 1600, Data: 99, Len: 1, Time: 1}}), v.EndDevice(),
		v.BeginDevice(2, metadata.Details{}), v.EndDevice(), v.End())
}

const golden = `{"type":"superblock","format":1,"uuid":"01020000000000000000000000000000","time":1,"transaction_id":2,"flags":1,"version":2,"data_block_size":128,"data_blocks":16384}
{"type":"def","name":"19"}
{"type":"range","thin_begin":0,"data_begin":0,"length":1600,"time":0}
{"type":"device","dev_id":1,"mapped_blocks":1601,"transaction_id":0,"creation_time":0,"snap_time":1}
{"type":"ref","name":"19"}
{"type":"range","thin_begin":1600,"data_begin":99,"length":1,"time":1}
{"type":"device","dev_id":2,"mapped_blocks":0,"transaction_id":0,"creation_time":0,"snap_time":0}
{"type":"summary","devices":2,"mappings":1601}
`

func TestWrite(t *testing.T) {
	var got bytes.Buffer
	w := NewWriter(&got)
	if err := describe(w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for line := range strings.Lines(got.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

func TestRead(t *testing.T) {
	var want, got fixtures.Recorder
	if err := describe(&want); err != nil {
		t.Fatal(err)
	}
	if err := Read(t.Context(), strings.NewReader(golden), &got, Options{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Calls, got.Calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadOddities(t *testing.T) {
	const (
		head   = `{"type":"superblock","format":1,"time":9,"transaction_id":2,"data_block_size":128,"data_blocks":1000}` + "\n"
		device = `{"type":"device","dev_id":1,"mapped_blocks":1,"transaction_id":0,"creation_time":0,"snap_time":1}` + "\n"
		one    = `{"type":"range","thin_begin":5,"data_begin":7,"length":1,"time":1}` + "\n"
		end    = `{"type":"summary","devices":1,"mappings":1}` + "\n"
	)
	for name, tc := range map[string]struct{ text, wrong string }{
		"plain":              {head + device + one + end, ""},
		"no newline at end":  {head + device + one + strings.TrimSpace(end), ""},
		"empty lines":        {"\n" + head + "\n\n" + device + one + end + "\n", ""},
		"spaces":             {head + device + `{ "type": "range", "length": 1, "time": 1, "data_begin": 7, "thin_begin": 5 }` + "\n" + end, ""},
		"carriage returns":   {strings.ReplaceAll(head+device+one+end, "\n", "\r\n"), ""},
		"length 0":           {head + device + strings.Replace(one, `"length":1`, `"length":0`, 1) + one + end, ""},
		"empty":              {"", "ends early"},
		"no end":             {head + device + one, "line 4: the input ends early"},
		"failed dump":        {head + device + `{"type":"error","message":"I/O error","exit_code":3}`, "ends with an error"},
		"cut line":           {head + device + one[:20], "want a JSON object"},
		"wrong count":        {head + device + end, "the dump is incomplete"},
		"after the end":      {head + device + one + end + device, "misplaced"},
		"second superblock":  {head + head, "line 2: misplaced"},
		"range first":        {one, "line 1: misplaced"},
		"range before dev":   {head + one, "misplaced"},
		"ref outside":        {head + `{"type":"ref","name":"x"}`, "misplaced"},
		"ref to nothing":     {head + device + `{"type":"ref","name":"x"}`, "not defined"},
		"other format":       {strings.Replace(head, `"format":1`, `"format":2`, 1), "newer version"},
		"unknown field":      {head + device + `{"type":"range","thin_begin":5,"data_begin":7,"length":1,"time":1,"foo":1}`, "unknown field"},
		"unknown type":       {head + `{"type":"foo"}`, "unknown type"},
		"missing field":      {head + device + `{"type":"range","thin_begin":5}`, "without thin_begin, data_begin"},
		"missing in device":  {head + `{"type":"device","dev_id":1}`, "without dev_id"},
		"two objects":        {head + device + strings.TrimSpace(one) + one, "more than one"},
		"no object":          {head + "[1]", "want a JSON object"},
		"text":               {"hello", "want a JSON object"},
		"negative":           {head + device + strings.Replace(one, "7", "-7", 1), "want a JSON object"},
		"too large":          {head + device + strings.Replace(one, "7", "18446744073709551616", 1), "want a JSON object"},
		"time of 33 bits":    {head + device + strings.Replace(one, `"time":1`, `"time":4294967296`, 1), "want a JSON object"},
		"time of 25 bits":    {head + device + strings.Replace(one, `"time":1`, `"time":16777216`, 1), "time is 16777216"},
		"leading zero":       {head + device + strings.Replace(one, "7", "07", 1), "want a JSON object"},
		"not ascending":      {head + device + one + one, "line 4: device 1: thin block 5 follows 5"},
		"beyond data device": {head + device + strings.Replace(one, "7", "1000", 1), "beyond the data device"},
		"device twice":       {head + device + device, "appears twice"},
		"uuid":               {strings.Replace(head, `"format":1`, `"format":1,"uuid":"xyz"`, 1), "hexadecimal"},
		"line too long":      {head + strings.Repeat(" ", longestLine+1), "longer than"},
		"block size":         {strings.Replace(head, "128", "100", 1), "data_block_size is 100"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Read(t.Context(), strings.NewReader(tc.text), new(fixtures.Recorder), Options{})
			switch {
			case tc.wrong == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
				t.Errorf("err %v, want one with %q", err, tc.wrong)
			}
		})
	}
}

// Written dumps read back as the same calls, including through encoding/json.
func TestWriteRead(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var text bytes.Buffer
		w := NewWriter(&text)
		var want fixtures.Recorder
		runs := rapid.IntRange(0, 50).Draw(rt, "runs")
		for _, v := range []metadata.Visitor{w, &want} {
			at := uint64(0)
			errs := []error{v.Begin(metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 1 << 40}), v.BeginDevice(3, metadata.Details{})}
			for i := range runs {
				at += uint64(i % 3)
				errs = append(errs, v.Runs([]metadata.Run{{Thin: metadata.ThinBlock(at), Data: metadata.DataBlock(at * 7 % 1000), Len: uint64(1 + i%2), Time: uint32(i % 5)}}))
				at += uint64(1 + i%2)
			}
			if err := errors.Join(append(errs, v.EndDevice(), v.End())...); err != nil {
				rt.Fatal(err)
			}
		}
		for _, form := range []string{text.String(), strings.ReplaceAll(text.String(), ":", " : ")} {
			var got fixtures.Recorder
			if err := Read(context.Background(), strings.NewReader(form), &got, Options{}); err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(want.Calls, got.Calls); diff != "" {
				rt.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
}

// The fast parser for ranges and encoding/json agree on any line.
func FuzzScanRange(f *testing.F) {
	f.Add([]byte(`{"type":"range","thin_begin":5,"data_begin":7,"length":1,"time":1}` + "\n"))
	f.Add([]byte(`{"type":"range","thin_begin":05,"data_begin":7,"length":1,"time":4294967296}` + "\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, ok := scanRange(line)
		if !ok {
			return
		}
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%q is not JSON: %v", line, err)
		}
		want := metadata.Run{Thin: metadata.ThinBlock(*r.ThinBegin), Data: metadata.DataBlock(*r.DataBegin), Len: *r.Length, Time: *r.Time}
		if r.Type != "range" || got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	})
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(golden))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = Read(t.Context(), bytes.NewReader(text), new(fixtures.Recorder), Options{})
	})
}
