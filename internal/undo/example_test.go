package undo_test

import (
	"bytes"
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/internal/undo"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
)

// Plan a repair, save the blocks it will change, carry it out, and undo it.
func ExampleWrite() {
	ctx := context.Background()
	image, err := fixtures.Image("powercut")
	if err != nil {
		fmt.Println(err)
		return
	}
	dev := blocktest.NewMemFrom(bytes.Clone(image))
	_, repair, err := check.PlanFix(ctx, dev, check.Options{}, func(check.Fault) {})
	if err != nil {
		fmt.Println(err)
		return
	}
	var kept bytes.Buffer
	change := undo.Change{Released: repair.Released(), Written: repair.Blocks(), Block0: repair.Block0()}
	if err := undo.Write(ctx, &kept, dev, change); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("repair:", repair.Write(ctx, dev), bytes.Equal(dev.Contents(), image))

	file, err := undo.Open(ctx, bytes.NewReader(kept.Bytes()), int64(kept.Len()))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("undo:", file.Apply(ctx, dev, nil), bytes.Equal(dev.Contents(), image))
	// Output:
	// repair: <nil> false
	// undo: <nil> true
}
