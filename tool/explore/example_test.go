package explore_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/explore"
)

func ExamplePlay() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		fmt.Println(err)
		return
	}
	clear(image[121*block.Size : 122*block.Size])
	m, first := explore.New(explore.Options{Device: blocktest.NewMemFrom(image), Path: "pool.meta"})
	m = explore.Play(context.Background(), m, first, explore.Size{Width: 72, Height: 12}, explore.Key("f"))
	fmt.Print(m.Text())
	// Output:
	//  thin_explore  pool.meta  0 > 229 > 230 > 121
	//  ! mappings of device 1: empty, block 121
	// ------------------------------------------------------------------------
	//    all zero: x shows the bytes               | fault 1 of 2
	//                                              | ! fatal: mappings:
	//                                              | ! device 1: lost keys
	//                                              | ! 0..247: block 121: all
	//                                              | ! zero, want a btree
	//                                              | ! node [node-damaged]
	//                                              | what to do: keep the
	//  fault 1 of 2: node-damaged
	//  Enter open  h back  : go to  o owners  x bytes  f fault  ? help  q quit
}
