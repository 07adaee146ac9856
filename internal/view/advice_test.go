package view

import (
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
)

// Only the worst faults get advice, each piece once. Faults that a repair removed need none.
func TestAdvice(t *testing.T) {
	fault := func(code check.Code, s check.Severity) check.Fault {
		return check.Fault{Code: code, Severity: s, Err: errors.New("x")}
	}
	of := func(f check.Fault) string { return f.Advice() }
	node, leak, flag := fault(check.NodeDamaged, check.Fatal), fault(check.DataLeak, check.Note), fault(check.NeedsCheckSet, check.Note)
	leak.Tree = "data space map"
	quiet, counters := fault(check.TailNotZero, check.Note), fault(check.SpaceMapCounters, check.Note)
	snapshot, small, late := fault(check.SnapshotDamaged, check.Fatal), fault(check.DeviceTooSmall, check.Fatal), fault(check.TimeTooHigh, check.NonFatal)
	for name, tc := range map[string]struct {
		faults []check.Fault
		repair bool
		fixed  []check.Fixed
		want   []string
	}{
		"nothing wrong":           {nil, false, nil, nil},
		"one":                     {[]check.Fault{leak, leak}, false, nil, []string{of(leak)}},
		"nothing to be done":      {[]check.Fault{quiet}, false, nil, []string{of(quiet)}},
		"something to be done":    {[]check.Fault{quiet, leak, counters}, false, nil, []string{of(leak)}},
		"fatal":                   {[]check.Fault{flag, quiet, leak, node, late}, false, nil, []string{of(node)}},
		"two notes":               {[]check.Fault{flag, leak, quiet}, false, nil, []string{of(flag), of(leak)}},
		"snapshot alone":          {[]check.Fault{snapshot, leak}, false, nil, []string{of(snapshot)}},
		"snapshot and more":       {[]check.Fault{node, snapshot}, false, nil, []string{of(node)}},
		"cut":                     {[]check.Fault{small, node, snapshot}, false, nil, []string{of(small)}},
		"repaired":                {[]check.Fault{flag, leak}, true, nil, nil},
		"repaired but for one":    {[]check.Fault{flag, quiet, leak}, true, nil, []string{of(quiet)}},
		"settled along with that": {[]check.Fault{late, late, quiet}, true, []check.Fixed{{Code: late.Code, Severity: late.Severity, Faults: 2}}, []string{of(quiet)}},
		"settled in part":         {[]check.Fault{late, late, quiet}, true, []check.Fixed{{Code: late.Code, Severity: late.Severity, Faults: 1}}, []string{of(late)}},
	} {
		t.Run(name, func(t *testing.T) {
			p := FaultPrinter{Out: io.Discard, Err: io.Discard, Fixes: tc.repair}
			for _, f := range tc.faults {
				p.Fault(f)
			}
			p.Repaired(&check.Fix{Fixed: tc.fixed})
			if diff := cmp.Diff(tc.want, p.worst()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// If the pool has no metadata snapshot, the advice depends on the input.
func TestAdviceSnapshot(t *testing.T) {
	missing := check.Fault{Code: check.SnapshotMissing, Severity: check.Fatal, Err: metadata.ErrNoSnapshot}
	for _, json := range []bool{false, true} {
		p := FaultPrinter{Out: io.Discard, Err: io.Discard, JSON: json, Reserve: "reserve one"}
		p.Fault(missing)
		if diff := cmp.Diff([]string{"reserve one"}, p.worst()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	p := FaultPrinter{Out: io.Discard, Err: io.Discard}
	p.Fault(missing)
	if diff := cmp.Diff([]string{missing.Advice()}, p.worst()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A wiped or overwritten block 0 gets different advice than one with a single flipped bit.
func TestAdviceWiped(t *testing.T) {
	flipped := &block.ChecksumError{Correctable: true}
	advice := map[string]bool{}
	for _, err := range []error{nil, &block.ChecksumError{}, flipped} {
		f := check.Fault{Code: check.SuperblockDamaged, Severity: check.Fatal, Err: &check.WipedError{Blocks: 9, Err: err}}
		advice[f.Advice()] = true
	}
	if len(advice) != 2 {
		t.Errorf("advice: %v", advice)
	}
}
