package volume_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block/blocktest"
	"thinpool/metadata/volume"
)

func ExampleOpen() {
	image, err := fixtures.Image("sequential")
	if err != nil {
		log.Fatal(err)
	}
	pool, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		log.Fatal(err)
	}
	tree, err := pool.MappingTree(1)
	if err != nil {
		log.Fatal(err)
	}
	data := strings.NewReader("what lies on the data device")
	src := volume.Source{Data: data, DataSize: data.Size()}
	v, err := volume.Open(context.Background(), pool, tree, src, volume.Options{Size: data.Size()})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range v.Extents(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Kind, e)
	}
	content, err := io.ReadAll(io.NewSectionReader(v, 0, v.Size()))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", content)
	// Output:
	// mapped bytes 0..27 (0..27 on the data device)
	// what lies on the data device
}
