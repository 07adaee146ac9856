package rmap_test

import (
	"context"
	"fmt"
	"os"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/rmap"
)

func ExampleRun() {
	image, err := fixtures.Image("metadata-snap")
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	badBlock := rmap.Options{Regions: []rmap.Region{{Begin: 7, End: 8}}}
	err = rmap.Run(context.Background(), p, badBlock, func(rows []rmap.Row) error {
		for _, r := range rows {
			fmt.Printf("device %d, thin block %d\n", r.ID, r.Thin)
		}
		return nil
	})
	fmt.Println(err)
	// Output:
	// device 1, thin block 97237
	// device 2, thin block 97237
	// <nil>
}

func ExampleText() {
	image, err := fixtures.Image("metadata-snap")
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	badBlock := rmap.Options{Regions: []rmap.Region{{Begin: 7, End: 8}}}
	err = rmap.Text(context.Background(), p, badBlock, os.Stdout, func(dst []byte, r rmap.Row) []byte {
		return fmt.Appendf(dst, "device %d, thin block %d\n", r.ID, r.Thin)
	})
	fmt.Println(err)
	// Output:
	// device 1, thin block 97237
	// device 2, thin block 97237
	// <nil>
}
