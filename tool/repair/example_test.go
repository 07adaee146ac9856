package repair_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
	"thinpool/tool/restore"
)

// A damaged leaf costs its own mappings. What is left becomes new metadata.
func ExampleFind() {
	ctx := context.Background()
	image, err := fixtures.Image("odd-blocks")
	if err != nil {
		panic(err)
	}
	damaged := blocktest.NewMemFrom(image)
	damaged.FailReads(81)

	found, err := repair.Find(ctx, damaged, repair.Options{})
	if err != nil {
		panic(err)
	}
	for _, d := range found.Report.Devices {
		fmt.Printf("device %d: %d of %d mappings\n", d.ID, d.Found(), d.Expected)
		for lost := range d.Holes() {
			fmt.Printf("  lost: %v\n", lost.Keys)
		}
	}

	pool, err := metadata.Open(found.Device, metadata.Options{})
	if err != nil {
		panic(err)
	}
	fresh := blocktest.NewMem(damaged.Size())
	b := restore.New(restore.Options{})
	if err := dump.Run(ctx, pool, dump.Options{}, b); err != nil {
		panic(err)
	}
	fmt.Println("written:", b.Write(ctx, fresh))
	// Output:
	// device 1: 778 of 778 mappings
	// device 2: 4634 of 4885 mappings
	//   lost: keys 45614..50906
	// written: <nil>
}
