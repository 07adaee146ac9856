package send_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"thinpool/metadata/block/blocktest"
	"thinpool/streamfmt"
	"thinpool/tool/send"
)

// reseal corrects the checksums of all frames in a stream, so that the receiver reads the
// content.
func reseal(stream []byte) []byte {
	const prefix, head = 16, 32
	le, table := binary.LittleEndian, crc32.MakeTable(crc32.Castagnoli)
	for at := prefix; at+head <= len(stream); {
		h := stream[at : at+head]
		end := at + head + int(le.Uint32(h[4:]))
		if end > len(stream) {
			break
		}
		le.PutUint32(h[head-4:], crc32.Update(crc32.Checksum(h[:head-4], table), table, stream[at+head:end]))
		at = end
	}
	return stream
}

// No stream makes a receiver panic, hang or allocate without bound. A receiver accepts only
// complete streams.
func FuzzReceive(f *testing.F) {
	k := newKernel(6)
	k.create(1)
	k.write(1, 0)
	k.snapshot(2, 1)
	k.write(1, 0)
	whole, index := k.stream(f, nil, send.Stream{Level: 1, Text: []byte("text")})
	increment, _ := k.stream(f, loadIndex(f, index), send.Stream{Level: 1})
	f.Add(whole)
	f.Add(increment)
	f.Add(index)
	base, data := blocktest.NewMem(metaBytes), blocktest.NewMem(8*blockBytes)
	if err := receive(f, whole, base, data, false, send.Target{}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		stream = reseal(bytes.Clone(stream))
		_, _ = send.LoadIndex(bytes.NewReader(stream))
		_ = receive(t, stream, blocktest.NewMem(metaBytes), blocktest.NewMem(8*blockBytes), len(stream)%2 == 0, send.Target{})
		_ = onto(t, stream, base, blocktest.NewMem(metaBytes), blocktest.NewMemFrom(data.Contents()))
		if r, err := streamfmt.NewReader(bytes.NewReader(stream)); err == nil {
			for err == nil {
				_, err = r.Next()
			}
		}
	})
}
