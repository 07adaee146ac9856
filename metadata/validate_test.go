package metadata_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"thinpool/metadata"
)

// A call is a call of one of a Validator's methods.
type call func(*metadata.Validator) error

func beginDef(name string) call {
	return func(v *metadata.Validator) error { return v.BeginDef(name) }
}

func endDef(v *metadata.Validator) error { return v.EndDef() }

func beginDevice(id metadata.DevID, d metadata.Details) call {
	return func(v *metadata.Validator) error { return v.BeginDevice(id, d) }
}

func ref(name string) call {
	return func(v *metadata.Validator) error { return v.Ref(name) }
}

func run(r metadata.Run) call {
	return func(v *metadata.Validator) error { return v.Run(r) }
}

// A call that breaks a rule returns an error that says why. The calls before it are accepted.
func TestValidator(t *testing.T) {
	device := beginDevice(1, metadata.Details{})
	for name, tc := range map[string]struct {
		calls []call
		want  string // of the last call; "": no error
	}{
		"a pool": {[]call{
			beginDef("a"), run(metadata.Run{Thin: 5, Len: 3}), run(metadata.Run{Thin: 8, Data: 997, Len: 3}), endDef,
			device, run(metadata.Run{Thin: 2, Data: 9, Len: 3, Time: metadata.MaxTime}), ref("a"), run(metadata.Run{Thin: 11, Len: 1}),
			beginDevice(metadata.MaxDevID, metadata.Details{CreationTime: metadata.MaxTime, SnapshottedTime: metadata.MaxTime}), ref("a"),
		}, ""},
		"nothing is right anywhere": {[]call{
			beginDef("empty"), endDef, device, run(metadata.Run{Thin: 9, Len: 1}), run(metadata.Run{Data: 5000}), ref("empty"),
		}, ""},
		"def twice":           {[]call{beginDef("a"), endDef, beginDef("a")}, `def "a" is defined twice`},
		"device twice":        {[]call{device, device}, "device 1 appears twice"},
		"device id":           {[]call{beginDevice(metadata.MaxDevID+1, metadata.Details{})}, "device id is 16777216, want at most 16777215"},
		"creation time":       {[]call{beginDevice(1, metadata.Details{CreationTime: 1 << 24})}, "the times 16777216 and 0"},
		"snapshotted time":    {[]call{beginDevice(1, metadata.Details{SnapshottedTime: 1 << 24})}, "the times 0 and 16777216"},
		"unknown def":         {[]call{device, ref("a")}, `device 1 refers to "a", which is not defined before it`},
		"def too early":       {[]call{beginDef("a"), run(metadata.Run{Thin: 5, Len: 1}), endDef, device, run(metadata.Run{Thin: 3, Len: 3}), ref("a")}, `def "a" starts at thin block 5, not after 5`},
		"run after def":       {[]call{beginDef("a"), run(metadata.Run{Thin: 5, Len: 4}), endDef, device, ref("a"), run(metadata.Run{Thin: 8, Len: 1})}, "device 1: thin block 8 follows 8"},
		"not ascending":       {[]call{device, run(metadata.Run{Thin: 5, Len: 4}), run(metadata.Run{Thin: 8, Len: 1})}, "thin block 8 follows 8, but thin blocks must be in ascending order"},
		"not ascending, def":  {[]call{beginDef("a"), run(metadata.Run{Thin: 5, Len: 4}), run(metadata.Run{Thin: 1, Len: 1})}, `def "a": thin block 1 follows 8`},
		"too many to number":  {[]call{device, run(metadata.Run{Thin: math.MaxUint64, Len: 2})}, "more than the format allows"},
		"data block beyond":   {[]call{device, run(metadata.Run{Thin: 3, Data: 1000, Len: 1})}, "data block 1000 is beyond the data device, which has 1000"},
		"data blocks go over": {[]call{device, run(metadata.Run{Thin: 3, Data: 999, Len: 2})}, "thin block 4: data block 1000 is beyond"},
		"time of a mapping":   {[]call{device, run(metadata.Run{Thin: 3, Len: 1, Time: 1 << 24})}, "thin block 3: time is 16777216"},
	} {
		t.Run(name, func(t *testing.T) {
			var v metadata.Validator
			if err := v.Begin(metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 1000}); err != nil {
				t.Fatal(err)
			}
			last := len(tc.calls) - 1
			for i, call := range tc.calls[:last] {
				if err := call(&v); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			err := tc.calls[last](&v)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// If the number of data blocks is unknown, only the format's limit applies.
func TestValidatorUnknownSize(t *testing.T) {
	var v metadata.Validator
	const last = metadata.MaxDataBlocks - 1
	if err := v.Begin(metadata.Header{Version: 2, DataBlockSize: 128}); err != nil {
		t.Fatal(err)
	}
	if err := v.BeginDevice(1, metadata.Details{}); err != nil {
		t.Fatal(err)
	}
	if err := v.Run(metadata.Run{Thin: 1, Data: last, Len: 1}); err != nil {
		t.Error(err)
	}
	if err := v.Run(metadata.Run{Thin: 2, Data: last, Len: 2}); err == nil {
		t.Error("a data block that a mapping cannot hold is taken")
	}
}

// The number of blocks a device maps is counted; a different claimed number is noted.
func TestValidatorMapped(t *testing.T) {
	for name, tc := range map[string]struct {
		claimed uint64
		notes   []string
	}{
		"right": {5, nil},
		"wrong": {7, []string{"device 3: mapped_blocks is 7, but 5 blocks are mapped; using 5"}},
	} {
		t.Run(name, func(t *testing.T) {
			var notes []string
			v := metadata.Validator{Note: func(s string) { notes = append(notes, s) }}
			if err := v.Begin(metadata.Header{Version: 2, DataBlockSize: 128}); err != nil {
				t.Fatal(err)
			}
			for _, call := range []call{
				beginDef("a"), run(metadata.Run{Thin: 5, Len: 2}), endDef,
				beginDevice(3, metadata.Details{MappedBlocks: tc.claimed}), run(metadata.Run{Len: 3}), ref("a"),
			} {
				if err := call(&v); err != nil {
					t.Fatal(err)
				}
			}
			if n := v.EndDevice(); n != 5 || !slices.Equal(notes, tc.notes) {
				t.Errorf("%d blocks, notes %q; want 5, %q", n, notes, tc.notes)
			}
		})
	}
}

// Overrides replace the fields they set. Invalid values are refused.
func TestOverrides(t *testing.T) {
	number := func(n uint64) *uint64 { return &n }
	old := metadata.Header{Version: 2, TransactionID: 1, DataBlockSize: 128, NrDataBlocks: 1000}
	for name, tc := range map[string]struct {
		overrides metadata.Overrides
		want      metadata.Header
		err       string
	}{
		"none":              {metadata.Overrides{}, old, ""},
		"transaction":       {metadata.Overrides{TransactionID: number(9)}, metadata.Header{Version: 2, TransactionID: 9, DataBlockSize: 128, NrDataBlocks: 1000}, ""},
		"sizes":             {metadata.Overrides{DataBlockSize: number(256), NrDataBlocks: number(7)}, metadata.Header{Version: 2, TransactionID: 1, DataBlockSize: 256, NrDataBlocks: 7}, ""},
		"odd block size":    {metadata.Overrides{DataBlockSize: number(129), TransactionID: number(9)}, old, "data_block_size is 129 sectors"},
		"huge block size":   {metadata.Overrides{DataBlockSize: number(1<<32 + 128)}, old, "data_block_size is 4294967424 sectors"},
		"too many blocks":   {metadata.Overrides{NrDataBlocks: number(metadata.MaxDataBlocks + 1)}, old, "more than the format allows"},
		"the most there is": {metadata.Overrides{NrDataBlocks: number(metadata.MaxDataBlocks)}, metadata.Header{Version: 2, TransactionID: 1, DataBlockSize: 128, NrDataBlocks: metadata.MaxDataBlocks}, ""},
	} {
		h := old
		err := tc.overrides.Apply(&h)
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) || h != tc.want {
			t.Errorf("%s: %+v, %v; want %+v, %q", name, h, err, tc.want, tc.err)
		}
	}
}
