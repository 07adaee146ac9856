package restore

import (
	"bytes"
	"errors"
	"testing"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

// If the device is too small, nothing is written.
func TestTooSmall(t *testing.T) {
	b := New(Options{})
	err := errors.Join(
		b.Begin(metadata.Header{Version: metadata.Version, DataBlockSize: 128, NrDataBlocks: 100}),
		b.BeginDevice(1, metadata.Details{MappedBlocks: 1}),
		b.Runs([]metadata.Run{{Thin: 5, Data: 7, Len: 1}}),
		b.EndDevice(), b.End())
	if err != nil {
		t.Fatal(err)
	}
	dev := blocktest.NewMem(int64(b.Least()-1) * block.Size)
	before := bytes.Clone(dev.Contents())
	err = b.Write(t.Context(), dev)
	if space, ok := errors.AsType[*SpaceError](err); !ok || space.Needed != b.Least() || space.Have != b.Least()-1 {
		t.Errorf("%v, want a SpaceError", err)
	}
	if !bytes.Equal(before, dev.Contents()) {
		t.Error("the device has changed")
	}
}

// The calls of a Visitor must be in order.
func TestWriteBeforeEnd(t *testing.T) {
	if err := New(Options{}).Write(t.Context(), blocktest.NewMem(1<<20)); err == nil {
		t.Error("written without a description")
	}
}
