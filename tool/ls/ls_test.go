package ls_test

import (
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/ls"
)

// Exclusive and shared blocks, counted the simple way: every mapping of every device, one by one.
func TestSharing(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			p, err := metadata.Open(fixtures.Mem(t, name), metadata.Options{})
			if err != nil {
				t.Fatal(err)
			}
			uses := map[metadata.DataBlock]int{}
			each := func(d metadata.Device, f func(metadata.DataBlock)) {
				for r, err := range p.Runs(t.Context(), d) {
					if err != nil {
						t.Fatal(err)
					}
					for i := range r.Len {
						f(r.Data + metadata.DataBlock(i))
					}
				}
			}
			rows, err := ls.Run(t.Context(), p, ls.Options{Sharing: true, Highest: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				each(r.Device, func(b metadata.DataBlock) { uses[b]++ })
			}
			for _, r := range rows {
				exclusive := uint64(0)
				each(r.Device, func(b metadata.DataBlock) {
					if uses[b] == 1 {
						exclusive++
					}
				})
				if r.Exclusive != exclusive || r.Exclusive+r.Shared != r.MappedBlocks || r.Empty != (r.MappedBlocks == 0) {
					t.Errorf("device %d: %+v, want %d exclusive", r.ID, r, exclusive)
				}
			}
		})
	}
}

// Without fields that need mappings, none is read.
func TestReadsNoMappings(t *testing.T) {
	dev := &counting{Device: fixtures.Mem(t, "wide-sharing")}
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rows, err := ls.Run(t.Context(), p, ls.Options{})
	if err != nil || len(rows) != 41 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if dev.reads > 5 {
		t.Errorf("%d reads for the details of 41 devices", dev.reads)
	}
}

type counting struct {
	block.Device
	reads int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.Device.ReadAt(p, off)
}

func TestDamage(t *testing.T) {
	dev := fixtures.Mem(t, "sequential")
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Device(1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Mappings(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	for part := range m.Forest.LeafRanges(d.Root) {
		dev.FailReads(part.Block)
	}
	for _, opt := range []ls.Options{{Sharing: true}, {Highest: true}} {
		if _, err := ls.Run(t.Context(), p, opt); err == nil {
			t.Errorf("%+v: no error", opt)
		}
	}
}
