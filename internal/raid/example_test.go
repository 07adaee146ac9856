package raid_test

import (
	"fmt"

	"thinpool/internal/raid"
)

func ExampleLayout_Locate() {
	l, err := raid.New("raid5_ls", 4, 64<<10, 0)
	if err != nil {
		panic(err)
	}
	place, rest := l.Locate(200<<10, 0) // the first chunk of the second row
	fmt.Printf("device %d, byte %d, %d bytes to the end of the chunk\n", place.Device, place.Offset, rest)
	// Output: device 3, byte 73728, 57344 bytes to the end of the chunk
}
