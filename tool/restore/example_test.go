package restore_test

import (
	"context"
	"fmt"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/restore"
)

// Rewrite the metadata of a pool, as small as possible.
func ExampleBuilder() {
	ctx := context.Background()
	image, _ := fixtures.Image("thinned-out")
	pool, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		panic(err)
	}
	b := restore.New(restore.Options{})
	if err := dump.Run(ctx, pool, dump.Options{}, b); err != nil {
		panic(err)
	}
	fresh := blocktest.NewMem(int64(b.Least()) * block.Size)
	if err := b.Write(ctx, fresh); err != nil {
		panic(err)
	}
	sum, err := check.Run(ctx, fresh, check.Options{}, func(f check.Fault) { fmt.Println(f.String()) })
	fmt.Println(pool.Live.MetadataSpaceMap.NrAllocated, "blocks used before,", b.Least(), "now;", sum.Mappings, "mappings", err)
	// Output:
	// 142 blocks used before, 126 now; 3801 mappings <nil>
}
