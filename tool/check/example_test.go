package check_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
)

func ExampleRun() {
	image, _ := fixtures.Image("powercut")
	sum, err := check.Run(context.Background(), blocktest.NewMemFrom(image), check.Options{}, func(f check.Fault) {
		fmt.Println(f.Severity, f.Code, f.Counts.First)
	})
	fmt.Println(sum.Fatal, "fatal,", sum.Mappings, "mappings", err)
	// Output:
	// note data-block-leak 26019
	// note data-block-leak 26035
	// 0 fatal, 24710 mappings <nil>
}
