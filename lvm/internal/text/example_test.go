package text_test

import (
	"fmt"

	"thinpool/lvm/internal/text"
)

func ExampleParse() {
	root, _, err := text.Parse([]byte("vg {\n\textent_size = 8192 # sectors\n\tlv/stripes = [\"pv0\", 3]\n}\n"))
	if err != nil {
		panic(err)
	}
	size, _, _ := root.Section("vg").Uint("extent_size")
	stripes, _ := root.Section("vg").Section("lv").Pairs("stripes")
	fmt.Println(size, stripes)
	_, _, err = text.Parse([]byte("vg {\n\textent_size = 0x2000\n}\n"))
	fmt.Println(err)
	// Output:
	// 8192 [{pv0 3}]
	// line 2: "0x2000" is not a number
}
