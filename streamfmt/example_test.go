package streamfmt_test

import (
	"bytes"
	"fmt"
	"io"

	"thinpool/streamfmt"
)

// The content of a stream, frame by frame.
func Example() {
	var stream bytes.Buffer
	w, err := streamfmt.NewWriter(&stream, 0)
	if err != nil {
		panic(err)
	}
	_ = w.JSON(streamfmt.Head, streamfmt.Header{Kind: "pool"})
	_ = w.Write(w.NewFrame(streamfmt.Data, 65536, []byte("content"), nil))
	_ = w.Write(&streamfmt.Frame{Type: streamfmt.Zero, Position: 131072, Length: 65536})
	if _, err := w.End(); err != nil {
		panic(err)
	}

	r, err := streamfmt.NewReader(&stream)
	if err != nil {
		panic(err)
	}
	for {
		f, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(err)
		}
		fmt.Println(f.Type, f.Position)
	}
	fmt.Println(r.Summary().DataBytes, r.Summary().ZeroBytes)
	// Output:
	// header 0
	// data 65536
	// zeros 131072
	// end 0
	// 7 65536
}
