package send_test

import (
	"bytes"
	"context"
	"fmt"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/send"
)

// A pool with a device of two data blocks is sent. In the received pool, the blocks are adjacent.
func Example() {
	const size = metadata.MinDataBlockSize * block.SectorSize
	content := make([]byte, 100*size)
	copy(content[90*size:], "ninety")
	visit := func(_ bool, v metadata.Visitor) error {
		_ = v.Begin(metadata.Header{Version: 2, DataBlockSize: metadata.MinDataBlockSize, NrDataBlocks: 100})
		_ = v.BeginDevice(1, metadata.Details{MappedBlocks: 2})
		_ = v.Runs([]metadata.Run{{Thin: 0, Data: 30, Len: 1}, {Thin: 1, Data: 90, Len: 1}})
		_ = v.EndDevice()
		return v.End()
	}
	plan, err := send.NewPlan(visit, send.Options{})
	if err != nil {
		panic(err)
	}
	var stream bytes.Buffer
	if _, err := plan.Send(context.Background(), &stream, bytes.NewReader(content), send.Stream{}); err != nil {
		panic(err)
	}

	in, err := send.Open(&stream)
	if err != nil {
		panic(err)
	}
	meta, data := blocktest.NewMem(20*block.Size), blocktest.NewMem(10*size)
	if err := in.Place(10, false); err != nil {
		panic(err)
	}
	if err := in.Build(nil, nil); err != nil {
		panic(err)
	}
	if err := in.Receive(context.Background(), meta, data, send.Target{}); err != nil {
		panic(err)
	}
	fmt.Printf("%d of 10 data blocks are used; the second begins with %s\n", in.Header.Used, data.Contents()[size:size+6])
	// Output:
	// 2 of 10 data blocks are used; the second begins with ninety
}
