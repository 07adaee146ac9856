package lvmthin_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/internal/lvmthin"
	"thinpool/lvm"
)

// The first bytes of a thin volume in the image of a disk.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "disk.img")
	if err := fixtures.WriteDisk("one-pv", path); err != nil {
		panic(err)
	}

	img, err := disk.Open(path, disk.Options{})
	if err != nil {
		panic(err)
	}
	defer img.Close()
	set, err := lvm.Scan(ctx, lvm.Options{}, img)
	if err != nil {
		panic(err)
	}
	group := set.Groups[0]
	r, err := lvmthin.Open(ctx, group, group.Volume("snap"), lvmthin.Options{})
	if err != nil {
		panic(err)
	}
	start := make([]byte, 16)
	_, err = r.ReadAt(start, 0)
	fmt.Printf("%s/snap, %d bytes: %q, %v\n", group.Name, r.Size(), start, err)
	// Output: vg1/snap, 83886080 bytes: "base 00000000000", <nil>
}
