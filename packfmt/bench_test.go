package packfmt

import (
	"bytes"
	"context"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

func BenchmarkPack(b *testing.B) {
	content, err := fixtures.Image("transactions")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		packOf(b, content, Options{})
	}
}

func BenchmarkLoad(b *testing.B) {
	content, err := fixtures.Image("transactions")
	if err != nil {
		b.Fatal(err)
	}
	p, _ := packOf(b, content, Options{})
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Load(context.Background(), 1<<30, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// The cost of decoding records into blocks, without the compression around them.
func BenchmarkDecode(b *testing.B) {
	content, err := fixtures.Image("transactions")
	if err != nil {
		b.Fatal(err)
	}
	var enc encoder
	var records [][]byte
	for nr := range block.Nr(len(content) / block.Size) {
		data := (*block.Data)(content[nr*block.Size:])
		if kind := block.KindOf(data); kind != block.UnknownKind {
			records = append(records, enc.record(nil, nr, data, kind == block.Node))
		}
	}
	b.SetBytes(int64(len(records)) * block.Size)
	var d decoder
	var out block.Data
	for b.Loop() {
		for _, rec := range records {
			d.in = source{buf: rec, at: nrSize, end: len(rec)}
			if err := d.block(&out); err != nil {
				b.Fatal(err)
			}
		}
	}
}
