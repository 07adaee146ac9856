package export_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/metadata/volume"
	"thinpool/tool/export"
)

// A device as a stream of bytes. The data device here has a word in its first block, which is also
// the first block of the device.
func ExampleRun() {
	ctx := context.Background()
	image, err := fixtures.Image("sequential")
	if err != nil {
		panic(err)
	}
	pool, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		panic(err)
	}
	tree, err := pool.MappingTree(1)
	if err != nil {
		panic(err)
	}
	const size = 1 << 20
	data := "content" + strings.Repeat("\x00", size)
	v, err := volume.Open(ctx, pool, tree, volume.Source{Data: strings.NewReader(data), DataSize: int64(len(data))}, volume.Options{Size: size})
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	err = export.Run(ctx, v, v.Extents(ctx), export.NewStream(&out), export.Options{})
	fmt.Printf("%d bytes: %s..., %v\n", out.Len(), out.Bytes()[:7], err)
	// Output: 1048576 bytes: content..., <nil>
}
