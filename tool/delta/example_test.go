package delta_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/delta"
)

// What a device has that its snapshot does not, in the first 60 blocks.
func ExampleRun() {
	image, err := fixtures.Image("metadata-snap")
	if err != nil {
		fmt.Println(err)
		return
	}
	pool, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var trees [2]metadata.MappingTree
	for i, id := range []metadata.DevID{1, 2} {
		if trees[i], err = pool.MappingTree(id); err != nil {
			fmt.Println(err)
			return
		}
	}
	err = delta.Run(context.Background(), pool, trees[0], trees[1], delta.Options{Blocks: 60}, func(ranges []delta.Range) error {
		for _, r := range ranges {
			fmt.Println(r)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// left_only 0..0
	// left_only 11..11
	// same 24..24
	// right_only 53..53
	// right_only 57..57
	// <nil>
}
