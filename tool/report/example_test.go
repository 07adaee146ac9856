package report_test

import (
	"context"
	"fmt"
	"strings"

	"thinpool/fixtures"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/report"
)

// Measure a pool, and write a page about it.
func Example() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		panic(err)
	}
	r, err := report.Run(context.Background(), blocktest.NewMemFrom(image), report.Options{Pool: "vg/pool"})
	if err != nil {
		panic(err)
	}
	_, state := r.State()
	fmt.Println(state)
	for _, v := range r.ByGain() {
		fmt.Printf("deleting device %d frees %d of %d blocks\n", v.ID, v.Exclusive, v.MappedBlocks)
	}
	var page strings.Builder
	fmt.Println(r.HTML(&page), strings.Contains(page.String(), "<title>Pool vg/pool</title>"))
	// Output:
	// The pool is healthy: thin_check finds no faults.
	// deleting device 1 frees 3201 of 3201 blocks
	// <nil> true
}
