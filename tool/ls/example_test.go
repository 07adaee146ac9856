package ls_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/ls"
)

func ExampleRun() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	rows, err := ls.Run(context.Background(), p, ls.Options{Sharing: true, Highest: true})
	fmt.Println(rows[0].Exclusive, rows[0].Highest, err)
	// Output: 3201 648437 <nil>
}
