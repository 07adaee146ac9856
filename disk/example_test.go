package disk_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"thinpool/disk"
	"thinpool/fixtures"
)

// From the legs of a mirror to the encrypted data on it.
func Example() {
	ctx := context.Background()
	encrypted, err := fixtures.LUKS1([]byte(strings.Repeat("what is kept here ", 512)), "secret")
	if err != nil {
		panic(err)
	}
	var disks []*disk.Disk
	for role, name := range []string{"sda", "sdb"} {
		leg := fixtures.Leg{Level: 1, Devices: 2, Role: role, Events: 1}.Make(encrypted)
		disks = append(disks, disk.New(name, bytes.NewReader(leg), int64(len(leg))))
	}
	found, err := disk.Search(ctx, disk.How{
		Key:       func(context.Context, disk.Lock) ([]byte, error) { return []byte("secret"), nil },
		KeyMemory: 1 << 30,
	}, disks...)
	if err != nil {
		panic(err)
	}
	for _, m := range found.Media {
		for _, d := range m.Plain {
			start := make([]byte, 17)
			if err := d.ReadFull(start, 0); err != nil {
				panic(err)
			}
			fmt.Printf("%v has %d bytes: %s\n", d, d.Size(), start)
		}
	}
	// Output:
	// sda + sdb > md raid1 > LUKS1 has 9216 bytes: what is kept here
}
