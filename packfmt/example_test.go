package packfmt_test

import (
	"bytes"
	"context"
	"fmt"

	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/packfmt"
)

// Pack a device, and read the pack as if it were the device.
func Example() {
	ctx := context.Background()
	dev := blocktest.NewMem(1001 * block.Size)
	var b block.Data
	block.Seal(1000, &b, block.Bitmap)
	if err := block.Write(dev, 1000, &b); err != nil {
		panic(err)
	}
	var file bytes.Buffer
	sum, err := packfmt.Pack(ctx, dev, &file, packfmt.Options{})
	if err != nil {
		panic(err)
	}
	fmt.Println(sum.Packed, "of", sum.Blocks, "blocks are packed")

	pack, err := packfmt.NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		panic(err)
	}
	again, err := pack.Load(ctx, 1<<20, packfmt.Options{})
	if err != nil {
		panic(err)
	}
	if err := block.Read(again, 1000, &b); err != nil {
		panic(err)
	}
	fmt.Println("block 1000 is a", block.KindOf(&b))
	// Output:
	// 1 of 1001 blocks are packed
	// block 1000 is a bitmap
}
