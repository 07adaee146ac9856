package xmlfmt_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"thinpool/xmlfmt"
)

// Read a dump, and write it as the tools do.
func Example() {
	const dump = `<superblock uuid="" time="0" transaction="1" version="2" data_block_size="128" nr_data_blocks="100">
<device dev_id="1" mapped_blocks="2" transaction="0" creation_time="0" snap_time="0">
<single_mapping time='0' origin_block='5' data_block='7'/><!-- in any order -->
<single_mapping origin_block="6" data_block="8" time="0"/>
</device>
</superblock>`
	w := xmlfmt.NewWriter(os.Stdout, xmlfmt.Style1)
	if err := xmlfmt.Read(context.Background(), strings.NewReader(dump), w, xmlfmt.Options{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// <superblock uuid="" time="0" transaction="1" version="2" data_block_size="128" nr_data_blocks="100">
	//   <device dev_id="1" mapped_blocks="2" transaction="0" creation_time="0" snap_time="0">
	//     <range_mapping origin_begin="5" data_begin="7" length="2" time="0"/>
	//   </device>
	// </superblock>
}
