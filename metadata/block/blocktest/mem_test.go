package block_test

import (
	"bytes"
	"errors"
	"testing"

	"thinpool/metadata/block"
)

// A write that failed may still have reached the medium, whole, in part or not.
func TestMemFailedWriteMayLand(t *testing.T) {
	m := block.NewMem(block.Size)
	m.FailWritesAfter(0)
	var b block.Data
	for i := range b {
		b[i] = 1
	}
	if err := block.Write(m, 0, &b); !errors.Is(err, block.ErrFailed) {
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
