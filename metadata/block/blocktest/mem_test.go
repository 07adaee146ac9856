package blocktest_test

import (
	"bytes"
	"errors"
	"testing"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// A failed write may still reach the medium: fully, in part or not at all.
func TestMemFailedWriteMayLand(t *testing.T) {
	m := blocktest.NewMem(block.Size)
	m.FailWritesAfter(0)
	var b block.Data
	for i := range b {
		b[i] = 1
	}
	if err := block.Write(m, 0, &b); !errors.Is(err, blocktest.ErrFailed) {
		t.Fatal(err)
	}
	var all, none, part int
	for seed := range 300 {
		switch bytes.Count(m.Crash(seed).Contents(), []byte{1}) {
		case 0:
			none++
		case block.Size:
			all++
		default:
			part++
		}
	}
	if all == 0 || none == 0 || part == 0 {
		t.Errorf("whole %d times, in part %d, not at all %d", all, part, none)
	}
}

// A power cut keeps what was flushed, and any part of the rest.
func TestMemCrash(t *testing.T) {
	var one, two block.Data
	for i := range one {
		one[i], two[i] = 1, 2
	}
	m := blocktest.NewMem(2 * block.Size)
	if err := errors.Join(block.Write(m, 0, &one), m.Flush(), block.Write(m, 0, &two), block.Write(m, 1, &two)); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seed := range 200 {
		now := m.Crash(seed).Contents()
		for at := 0; at < len(now); at += block.SectorSize {
			old := byte(1)
			if at >= block.Size {
				old = 0
			}
			piece := now[at : at+block.SectorSize]
			switch {
			case bytes.Equal(piece, bytes.Repeat([]byte{2}, block.SectorSize)):
				seen["new"] = true
			case bytes.Equal(piece, bytes.Repeat([]byte{old}, block.SectorSize)):
				seen["old"] = true
			default:
				t.Fatal("a sector is torn")
			}
		}
	}
	if !seen["new"] || !seen["old"] {
		t.Errorf("only %v", seen)
	}
	if err := m.Flush(); err != nil || !bytes.Equal(m.Crash(1).Contents(), m.Contents()) {
		t.Errorf("after a flush something is lost: %v", err)
	}
}

func TestMemFails(t *testing.T) {
	m := blocktest.NewMem(4 * block.Size)
	m.FailReads(2)
	m.FailWritesAfter(1)
	var b block.Data
	if block.Read(m, 1, &b) != nil || !errors.Is(block.Read(m, 2, &b), blocktest.ErrFailed) {
		t.Error("reads")
	}
	b[0] = 1
	if block.Write(m, 0, &b) != nil || !errors.Is(block.Write(m, 1, &b), blocktest.ErrFailed) || !errors.Is(m.Flush(), blocktest.ErrFailed) || m.Ops() != 1 {
		t.Error("writes")
	}
	if m.Contents()[block.Size] != 0 {
		t.Error("a failed write is seen")
	}
}
