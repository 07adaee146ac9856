package thinpool_test

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/xmlfmt"
)

// A pool is checked, its devices are listed, and its content is written as XML. With
// block.Open in place of the image this is a program.
func Example() {
	ctx := context.Background()
	image, _ := fixtures.Image("sequential")
	dev := block.ReadOnly(bytes.NewReader(image), int64(len(image)))
	sum, err := check.Run(ctx, dev, check.Options{}, func(f check.Fault) { fmt.Println(f.String()) })
	if err != nil {
		panic(err)
	}
	fmt.Println(sum.Fatal, "fatal faults")

	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		panic(err)
	}
	for d, err := range pool.Devices(ctx) {
		fmt.Println("device", d.ID, "has", d.MappedBlocks, "blocks", err)
	}
	if err := dump.Run(ctx, pool, dump.Options{}, xmlfmt.NewWriter(os.Stdout, xmlfmt.Style1)); err != nil {
		panic(err)
	}
	// Output:
	// 0 fatal faults
	// device 1 has 3201 blocks <nil>
	// <superblock uuid="" time="0" transaction="0" version="2" data_block_size="128" nr_data_blocks="1638400">
	//   <device dev_id="1" mapped_blocks="3201" transaction="0" creation_time="0" snap_time="0">
	//     <range_mapping origin_begin="0" data_begin="0" length="3200" time="0"/>
	//     <single_mapping origin_block="648437" data_block="3200" time="0"/>
	//   </device>
	// </superblock>
}
