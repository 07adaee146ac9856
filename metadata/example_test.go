package metadata_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/dump"
	"thinpool/xmlfmt"
)

func ExamplePool_Devices() {
	for d, err := range examplePool().Devices(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("device", d.ID, "maps", d.MappedBlocks, "blocks")
	}
	// Output: device 1 maps 3201 blocks
}

func ExamplePool_Runs() {
	p := examplePool()
	d, err := p.Device(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	for r, err := range p.Runs(context.Background(), d) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(r)
	}
	// Output:
	// thin 0..3199 -> data 0..3199 at time 0
	// thin 648437 -> data 3200 at time 0
}

func ExamplePool_Lookup() {
	p := examplePool()
	d, err := p.Device(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	data, _, ok, err := p.Lookup(d, 648437)
	fmt.Println(data, ok, err)
	_, _, ok, err = p.Lookup(d, 5000)
	fmt.Println(ok, err)
	// Output:
	// 3200 true <nil>
	// false <nil>
}

func ExampleOpen_snapshot() {
	image, err := fixtures.Image("metadata-snap")
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{Snapshot: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("read by block", p.Superblock.Block)
	// Output: read by block 143
}

func ExampleVisitor() {
	var text bytesWriter
	w := xmlfmt.NewWriter(&text, xmlfmt.Style1)
	err := dump.Run(context.Background(), examplePool(), dump.Options{}, w)
	fmt.Print(text, err)
	// Output:
	// <superblock uuid="" time="0" transaction="0" version="2" data_block_size="128" nr_data_blocks="1638400">
	//   <device dev_id="1" mapped_blocks="3201" transaction="0" creation_time="0" snap_time="0">
	//     <range_mapping origin_begin="0" data_begin="0" length="3200" time="0"/>
	//     <single_mapping origin_block="648437" data_block="3200" time="0"/>
	//   </device>
	// </superblock>
	// <nil>
}

func ExampleRun() {
	fmt.Println(metadata.Run{Thin: 10, Data: 500, Len: 4, Time: 1})
	// Output: thin 10..13 -> data 500..503 at time 1
}
