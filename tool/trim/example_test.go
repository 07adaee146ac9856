package trim_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/trim"
)

func ExampleFree() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		fmt.Println(err)
		return
	}
	free, err := trim.Free(context.Background(), blocktest.NewMemFrom(image), trim.Options{})
	fmt.Println(len(free), free[0], err)
	// Output: 1 {3201 1638400} <nil>
}
