package generate_test

import (
	"context"
	"fmt"

	"thinpool/metadata/build"
	"thinpool/tool/generate"
)

func ExampleRun() {
	b := build.New(build.Options{})
	err := generate.Run(context.Background(), generate.Shape{
		Devices: 3, Mappings: 100_000, RunLength: 8, Snapshots: 10, Divergence: 0.05, Seed: 1,
	}, b)
	fmt.Println(b.Least() > 1000, err)
	// Output: true <nil>
}
