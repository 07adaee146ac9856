package scan_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/scan"
)

func ExampleRun() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		fmt.Println(err)
		return
	}
	clear(image[121*block.Size : 122*block.Size])
	dev := blocktest.NewMemFrom(image)
	_, err = scan.Run(context.Background(), dev, scan.Options{FaultsOnly: true}, func(r scan.Row) error {
		fmt.Println(r.First, r.Kind, r.Owners[0].Tree, r.Owners[0].FirstIDs, r.Keys, r.Faults)
		return nil
	})
	fmt.Println(err)
	// Output:
	// 121 empty mappings [1] keys 0..247 [all zero, but used for mappings]
	// <nil>
}
