package lvm_test

import (
	"context"
	"fmt"
	"strings"

	"thinpool/disk"
	"thinpool/lvm"
)

// From a disk to the volumes of a pool, and to the data of one of them.
func Example() {
	ctx := context.Background()
	content := disks(1, vg{lvs: lv("pool", 4, "type = \"thin-pool\"\nmetadata = \"pool_tmeta\"\npool = \"pool_tdata\"\ntransaction_id = 1\nchunk_size = 128") +
		lvStatus("pool_tmeta", `"READ", "WRITE"`, 1, linear("pv0", 4)) + lvStatus("pool_tdata", `"READ", "WRITE"`, 4, linear("pv0", 0)) +
		lv("home", 10, "type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 1")})[0]
	set, err := lvm.Scan(ctx, lvm.Options{}, disk.New("sda", strings.NewReader(string(content)), int64(len(content))))
	if err != nil {
		panic(err)
	}
	g, err := set.Group("vg")
	if err != nil {
		panic(err)
	}
	for _, v := range g.LVs {
		if thin := v.Thin(); thin != nil {
			fmt.Printf("%s is device %d of %s, %d bytes\n", v.Name, thin.DeviceID, thin.Pool, v.Size)
		}
	}
	meta := g.Volume("pool").ThinPool().Metadata
	r, err := g.Open(g.Volume(meta), lvm.ReadOptions{})
	if err != nil {
		panic(err)
	}
	p := make([]byte, 15)
	if _, err := r.ReadAt(p, 0); err != nil {
		panic(err)
	}
	fmt.Printf("%s begins with %q\n", meta, p)
	_, err = g.Open(g.Volume("home"), lvm.ReadOptions{})
	fmt.Println(err)
	// Output:
	// home is device 1 of pool, 163840 bytes
	// pool_tmeta begins with "disk 0 00020000"
	// vg/home: segment type thin: its content is read through its pool
}
