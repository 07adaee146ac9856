package lvmreport_test

import (
	"fmt"

	"thinpool/internal/lvmreport"
)

func ExampleUsage_Percent() {
	fmt.Println(lvmreport.Usage{Used: 511, Total: 1536}.Percent())
	fmt.Println(lvmreport.Usage{Used: 1, Total: 1 << 40}.Percent())
	// Output:
	// 33.27
	// 0.01
}
