package lvmcheck_test

import (
	"fmt"
	"strings"

	"thinpool/internal/lvmcheck"
	"thinpool/internal/pdata/spacemap"
	"thinpool/lvm"
	"thinpool/metadata"
)

// Metadata repaired from an older transaction, before the last volume was created.
func ExamplePool_Compare() {
	text := strings.NewReplacer("TRANSACTION", "5", "MESSAGES", "", "SNAP", "2").Replace(groupText)
	group, err := lvm.ParseGroup([]byte(text))
	if err != nil {
		panic(err)
	}
	pool := lvmcheck.Pool{
		Group: group, Volume: group.Volume("pool"),
		Superblock: metadata.Superblock{TransactionID: 3, DataBlockSize: 128, DataSpaceMap: spacemap.Root{NrBlocks: 16}},
		Devices:    []metadata.Device{{ID: 1}},
	}
	for _, d := range pool.Compare() {
		fmt.Println(d.Code, d.Refused)
	}
	// Output:
	// transaction-id true
	// volume-without-device true
}
