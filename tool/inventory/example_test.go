package inventory_test

import (
	"fmt"

	"thinpool/tool/inventory"
)

func ExampleUsage_Percent() {
	fmt.Println(inventory.Usage{Used: 511, Total: 1536}.Percent())
	fmt.Println(inventory.Usage{Used: 1, Total: 1 << 40}.Percent())
	// Output:
	// 33.27
	// 0.01
}
