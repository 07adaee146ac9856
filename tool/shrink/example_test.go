package shrink_test

import (
	"fmt"

	"thinpool/metadata"
	"thinpool/tool/shrink"
)

// The moves that shrink a pool from 100 to 10 data blocks, and the smallest possible size.
func ExampleUsage_Plan() {
	var u shrink.Usage
	_ = u.Begin(metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 100})
	_ = u.Runs([]metadata.Run{{Thin: 0, Data: 2, Len: 3}, {Thin: 3, Data: 90, Len: 4}})
	plan, err := u.Plan(10)
	fmt.Println(plan.Moves, err)
	_, err = u.Plan(6)
	fmt.Println(err)
	// Output:
	// [{90 0 2} {92 5 2}] <nil>
	// Insufficient free space: 4 data blocks would have to move below 6, where only 3 are free; the smallest possible size is 7
}
