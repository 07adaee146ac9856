package generate_test

import (
	"context"
	"fmt"

	"thinpool/internal/write"
	"thinpool/tool/generate"
)

func ExampleRun() {
	b := write.New(write.Options{})
	err := generate.Run(context.Background(), generate.Shape{
		Devices: 3, Mappings: 100_000, RunLength: 8, Snapshots: 10, Divergence: 0.05, Seed: 1,
	}, b)
	fmt.Println(b.Least() > 1000, err)
	// Output: true <nil>
}
