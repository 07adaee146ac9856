package check_test

import (
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/generate"
)

// On a cold disk, a check reads large pieces in disk order, and hardly anything twice. Reading 17
// MB block by block would take 4 000 requests.
func TestColdStorage(t *testing.T) {
	mem := blocktest.NewMem(64 << 20)
	b := write.New(write.Options{})
	shape := generate.Shape{Devices: 20, Mappings: 50_000, RunLength: 4, Snapshots: 3, Divergence: 0.01}
	if err := generate.Run(t.Context(), shape, b); err != nil {
		t.Fatal(err)
	}
	if err := b.Write(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	load, used := cold(t, mem)
	t.Log(load)
	if most := used / 60; load.Requests > most {
		t.Errorf("%d requests for %d blocks, want at most %d", load.Requests, used, most)
	}
	if most := uint64(12); load.Seeks > most {
		t.Errorf("%d seeks, want at most %d: each level of the trees is one pass, and so is each space map", load.Seeks, most)
	}
	if most := used * block.Size * 11 / 10; load.Bytes > most {
		t.Errorf("%d bytes read, want at most %d", load.Bytes, most)
	}
}

// The same with blocks placed by a kernel: passes, not jumps.
func TestColdKernel(t *testing.T) {
	for _, name := range []string{"layers", "many-devices"} {
		load, used := cold(t, fixtures.Mem(t, name))
		t.Logf("%s: %d blocks used, %v", name, used, load)
		if most := uint64(20); load.Seeks > most {
			t.Errorf("%s: %d seeks, want at most %d", name, load.Seeks, most)
		}
	}
}

// cold checks dev as if it were a cold disk. It also returns the number of metadata blocks in use.
func cold(t *testing.T, dev block.Device) (load blocktest.Load, used uint64) {
	t.Helper()
	disk := blocktest.NewDisk(dev)
	_, err := check.Run(t.Context(), disk, check.Options{
		Parallel:   1,
		Superblock: func(sb metadata.Superblock) { used = sb.MetadataSpaceMap.NrAllocated },
	}, func(check.Fault) {})
	if err != nil {
		t.Fatal(err)
	}
	return disk.Load(), used
}
