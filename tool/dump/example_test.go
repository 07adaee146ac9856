package dump_test

import (
	"context"
	"fmt"
	"os"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/dump"
	"thinpool/xmlfmt"
)

// A dump goes to any Visitor: one that writes XML, or internal/write, which writes new metadata.
func ExampleRun() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		fmt.Println(err)
		return
	}
	pool, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := xmlfmt.NewWriter(os.Stdout, xmlfmt.Style1)
	if err := dump.Run(context.Background(), pool, dump.Options{}, w); err != nil {
		fmt.Println(err)
	}
	// Output:
	// <superblock uuid="" time="0" transaction="0" version="2" data_block_size="128" nr_data_blocks="1638400">
	//   <device dev_id="1" mapped_blocks="3201" transaction="0" creation_time="0" snap_time="0">
	//     <range_mapping origin_begin="0" data_begin="0" length="3200" time="0"/>
	//     <single_mapping origin_block="648437" data_block="3200" time="0"/>
	//   </device>
	// </superblock>
}
