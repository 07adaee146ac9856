package textfmt_test

import (
	"os"

	"thinpool/metadata"
	"thinpool/textfmt"
)

func ExampleWriter() {
	w := textfmt.NewWriter(os.Stdout)
	_ = w.Begin(metadata.Header{Time: 1, TransactionID: 2, Version: 2, DataBlockSize: 128, NrDataBlocks: 1000})
	_ = w.BeginDevice(1, metadata.Details{MappedBlocks: 11, SnapshottedTime: 1})
	_ = w.Runs([]metadata.Run{{Thin: 0, Data: 500, Len: 10}, {Thin: 20, Data: 7, Len: 1, Time: 1}})
	_ = w.EndDevice()
	_ = w.End()
	// Output:
	// begin superblock: "", 1, 2, 0, 2, 128, 1000
	// device: 1
	// mapped_blocks: 11
	// transaction: 0
	// creation time: 0
	// snap time: 1
	//     (0..9) -> (500..509), 0
	//     (20..20) -> (7..7), 1
	//
	// end superblock
}
