package stat_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/stat"
)

func ExampleDevices() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		panic(err)
	}
	p, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		panic(err)
	}
	devices, err := stat.Devices(context.Background(), p)
	for _, d := range devices {
		fmt.Printf("device %d: %d mappings in %d runs, leaves %.0f %% full\n", d.ID, d.Mappings, d.Runs, 100*d.Fill())
	}
	fmt.Println(err)
	// Output:
	// device 1: 3201 mappings in 2 runs, leaves 98 % full
	// <nil>
}
