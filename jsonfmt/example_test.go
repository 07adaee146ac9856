package jsonfmt_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"thinpool/jsonfmt"
	"thinpool/metadata"
)

func ExampleWriter() {
	w := jsonfmt.NewWriter(os.Stdout)
	_ = w.Begin(metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 1000})
	_ = w.BeginDevice(1, metadata.Details{MappedBlocks: 10})
	_ = w.Runs([]metadata.Run{{Thin: 0, Data: 500, Len: 4}, {Thin: 4, Data: 504, Len: 6}})
	_ = w.EndDevice()
	_ = w.End()
	// Output:
	// {"type":"superblock","format":1,"uuid":"","time":0,"transaction_id":0,"flags":0,"version":2,"data_block_size":128,"data_blocks":1000}
	// {"type":"device","dev_id":1,"mapped_blocks":10,"transaction_id":0,"creation_time":0,"snap_time":0}
	// {"type":"range","thin_begin":0,"data_begin":500,"length":10,"time":0}
	// {"type":"summary","devices":1,"mappings":10}
}

// An error comes with its line and, if it is about a device, with the device.
func ExampleRead() {
	const dump = `{"type":"superblock","format":1,"time":0,"transaction_id":1,"data_block_size":128,"data_blocks":100}
{"type":"device","dev_id":3,"mapped_blocks":2,"transaction_id":0,"creation_time":0,"snap_time":0}
{"type":"range", "time":0, "length":2, "data_begin":99, "thin_begin":5}
`
	w := jsonfmt.NewWriter(io.Discard)
	fmt.Println(jsonfmt.Read(context.Background(), strings.NewReader(dump), w, jsonfmt.Options{}))
	// Output:
	// line 3: device 3: thin block 6: data block 100 is beyond the data device, which has 100
}
