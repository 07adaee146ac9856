package size_test

import (
	"fmt"

	"thinpool/tool/size"
)

// The bytes that the two usual rules give for a pool of 1 TiB.
func ExamplePool_Estimate() {
	p := size.Pool{BlockSize: 64 << 10, Size: 1 << 40, Thins: 1000}
	fmt.Println(p.Estimate(size.Tree).Bytes, p.Estimate(size.Kernel).Bytes)
	// Output: 549490688 805306368
}
