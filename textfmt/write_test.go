package textfmt

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/metadata"
)

func TestWrite(t *testing.T) {
	var got bytes.Buffer
	w := NewWriter(&got)
	defer w.Close()
	first := w.Begin(metadata.Header{Time: 1, TransactionID: 2, Flags: 1, Version: 2, DataBlockSize: 128, NrDataBlocks: 16384})
	if want := "begin superblock: \"\", 1, 2, 1, 2, 128, 16384\n"; got.String() != want {
		t.Errorf("after Begin: %q, want %q", got.String(), want)
	}
	err := errors.Join(first,
		w.BeginDef("19"), w.Runs([]metadata.Run{{Thin: 0, Data: 5, Len: 2}, {Thin: 2, Data: 7, Len: 1}}), w.EndDef(),
		w.BeginDevice(1, metadata.Details{MappedBlocks: 4, TransactionID: 6, CreationTime: 7, SnapshottedTime: 8}), w.Ref("19"),
		w.Runs([]metadata.Run{{Thin: 9, Data: 9, Len: 1, Time: 3}}), w.EndDevice(), w.End())
	if err != nil {
		t.Fatal(err)
	}
	want := `begin superblock: "", 1, 2, 1, 2, 128, 16384
def: 19
    (0..2) -> (5..7), 0

device: 1
mapped_blocks: 4
transaction: 6
creation time: 7
snap time: 8
    ref: 19
    (9..9) -> (9..9), 3

end superblock
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
