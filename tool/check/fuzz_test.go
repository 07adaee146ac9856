package check_test

import (
	"bytes"
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
)

// For any metadata, the check terminates. Metadata that passes can be dumped, and faults reported
// as fixed are fixed.
func FuzzCheck(f *testing.F) {
	image := fixtures.Small(f).Contents()
	f.Add([]byte{1, 0, 20, 0, 0, 255})
	f.Add([]byte{9, 0, 0, 8, 8, 0}) // a child is its own sibling
	f.Add(bytes.Repeat([]byte{3, 0, 16, 0, 7, 1}, 9))
	f.Fuzz(func(t *testing.T, edits []byte) {
		dev := blocktest.NewMemFrom(slices.Clone(image))
		for ; len(edits) >= 6; edits = edits[6:] { // block, offset, value; the checksum is updated
			nr := block.Nr(le.Uint16(edits)) % block.Blocks(dev)
			var b block.Data
			if block.Read(dev, nr, &b) != nil {
				continue
			}
			kind := block.KindOf(&b)
			if kind == block.UnknownKind {
				continue
			}
			at := int(le.Uint16(edits[2:])) % (block.Size - 2)
			copy(b[at:], edits[4:6])
			block.Reseal(&b, kind)
			_ = block.Write(dev, nr, &b)
		}
		sum, err := check.Run(t.Context(), readOnly{dev}, check.Options{Parallel: 2}, func(check.Fault) {})
		if err != nil {
			t.Fatal(err)
		}
		if sum.Fatal > 0 {
			return
		}
		pool, err := metadata.Open(readOnly{dev}, metadata.Options{Parallel: 2})
		if err != nil {
			t.Fatal(err)
		}
		var v counter
		if err := dump.Run(t.Context(), pool, dump.Options{Flat: true}, &v); err != nil {
			t.Fatal(err)
		}
		if v.devices != sum.Devices || v.mappings != sum.Mappings {
			t.Errorf("%d devices and %d mappings are dumped, %d and %d were checked", v.devices, v.mappings, sum.Devices, sum.Mappings)
		}
		testFixed(t, dev)
	})
}

// A counter is a visitor that counts.
type counter struct{ devices, mappings uint64 }

func (c *counter) Begin(metadata.Header) error                        { return nil }
func (c *counter) BeginDef(string) error                              { return nil }
func (c *counter) EndDef() error                                      { return nil }
func (c *counter) BeginDevice(metadata.DevID, metadata.Details) error { c.devices++; return nil }
func (c *counter) Ref(string) error                                   { return nil }
func (c *counter) EndDevice() error                                   { return nil }
func (c *counter) End() error                                         { return nil }
func (c *counter) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		c.mappings += r.Len
	}
	return nil
}
