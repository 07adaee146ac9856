package dump_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/dump"
	"thinpool/xmlfmt"
)

func open(t *testing.T, dev block.Device) *metadata.Pool {
	t.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// text dumps p as XML.
func text(t *testing.T, p *metadata.Pool, opt dump.Options) (string, error) {
	t.Helper()
	var out bytes.Buffer
	w := xmlfmt.NewWriter(&out, xmlfmt.Style1)
	err := dump.Run(t.Context(), p, opt, w)
	return out.String(), err
}

// pool builds metadata of devices that share leaves. Each letter stands for a leaf, full so that
// the build keeps it.
func pool(t *testing.T, devices ...string) *metadata.Pool {
	t.Helper()
	const leaf = 252
	b := write.New(write.Options{})
	errs := []error{b.Begin(metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 100000})}
	letters := slices.Compact(slices.Sorted(slices.Values([]byte(strings.Join(devices, "")))))
	for _, c := range letters {
		runs := make([]metadata.Run, leaf)
		for i := range runs {
			n := uint64(c)*leaf + uint64(i)
			runs[i] = metadata.Run{Thin: metadata.ThinBlock(n), Data: metadata.DataBlock(n), Len: 1}
		}
		errs = append(errs, b.BeginDef(string(c)), b.Runs(runs), b.EndDef())
	}
	for i, leaves := range devices {
		errs = append(errs, b.BeginDevice(metadata.DevID(i), metadata.Details{}))
		for _, c := range leaves {
			errs = append(errs, b.Ref(string(c)))
		}
		errs = append(errs, b.EndDevice())
	}
	dev := blocktest.NewMem(1 << 20)
	if err := errors.Join(append(errs, b.End(), b.Write(t.Context(), dev))...); err != nil {
		t.Fatal(err)
	}
	return open(t, dev)
}

// A shape is what a dump shares: defs in brackets and refs by the number of the leaf, ranges as
// the letters of their leaves.
type shape struct{ calls []string }

func (s *shape) add(format string, args ...any) error {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
	return nil
}
func (s *shape) Begin(metadata.Header) error                             { return nil }
func (s *shape) BeginDef(name string) error                              { return s.add("[%s:", name) }
func (s *shape) EndDef() error                                           { return s.add("]") }
func (s *shape) BeginDevice(id metadata.DevID, _ metadata.Details) error { return s.add(" %d:", id) }

func (s *shape) Ref(name string) error { return s.add("<%s>", name) }
func (s *shape) EndDevice() error      { return nil }
func (s *shape) End() error            { return nil }
func (s *shape) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		for c := uint64(r.Thin) / 252; c <= (uint64(r.Thin)+r.Len-1)/252; c++ {
			s.add("%c", rune(c))
		}
	}
	return nil
}

func TestSharing(t *testing.T) {
	for _, tc := range []struct {
		devices []string
		want    string
	}{
		{[]string{"abc"}, " 0:abc"},
		{[]string{"abc", "abc"}, "[1:abc] 0:<1> 1:<1>"},
		{[]string{"abc", "abd"}, "[1:ab] 0:<1>c 1:<1>d"},
		{[]string{"abcd", "bc"}, "[2:bc] 0:a<2>d 1:<2>"},
		// A run is atomic: if it ends in one device, it is cut for all.
		{[]string{"abcd", "abcd", "bc"}, "[1:a][2:bc][4:d] 0:<1><2><4> 1:<1><2><4> 2:<2>"},
		{[]string{"abcd", "abd"}, "[1:ab][4:d] 0:<1>c<4> 1:<1><4>"},
		{[]string{"ab", "cd", "abcd"}, "[1:ab][3:cd] 0:<1> 1:<3> 2:<1><3>"},
		{[]string{"", ""}, " 0: 1:"},
	} {
		p := pool(t, tc.devices...)
		var s shape
		if err := dump.Run(t.Context(), p, dump.Options{}, &s); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.calls, ""); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.devices, got, tc.want)
		}
		var flat shape
		if err := dump.Run(t.Context(), p, dump.Options{Flat: true}, &flat); err != nil {
			t.Fatal(err)
		}
		want := ""
		for i, leaves := range tc.devices {
			want += fmt.Sprintf(" %d:%s", i, leaves)
		}
		if got := strings.Join(flat.calls, ""); got != want {
			t.Errorf("%q, flat: %s, want %s", tc.devices, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	p := open(t, fixtures.Mem(t, "wide-sharing"))
	all, err := text(t, p, dump.Options{})
	if err != nil || strings.Count(all, "<def ") != 24 || strings.Count(all, "<device ") != 41 {
		t.Errorf("%d defs, %d devices, %v", strings.Count(all, "<def "), strings.Count(all, "<device "), err)
	}
	one, err := text(t, p, dump.Options{Devices: []metadata.DevID{105, 105}})
	if err != nil || strings.Contains(one, "<def ") || strings.Count(one, "<device ") != 1 || !strings.Contains(one, `dev_id="105"`) {
		t.Errorf("one device: %.300s %v", one, err)
	}
	if _, err := text(t, p, dump.Options{Devices: []metadata.DevID{105, 7}}); !errors.Is(err, metadata.ErrNoDevice) {
		t.Errorf("a device that is not there: %v", err)
	}
	bare, err := text(t, p, dump.Options{SkipMappings: true})
	if err != nil || strings.Contains(bare, "mapping ") || strings.Count(bare, "<device ") != 41 {
		t.Errorf("without mappings: %.300s %v", bare, err)
	}
}

func TestOverrides(t *testing.T) {
	p := open(t, fixtures.Mem(t, "out-of-data")) // 2000 data blocks, all in use
	n, small, id, size := uint64(2000), uint64(1999), uint64(77), uint64(256)
	got, err := text(t, p, dump.Options{Overrides: metadata.Overrides{NrDataBlocks: &n, TransactionID: &id, DataBlockSize: &size}})
	if err != nil || !strings.HasPrefix(got, `<superblock uuid="" time="0" transaction="77" version="2" data_block_size="256" nr_data_blocks="2000">`) {
		t.Errorf("%.200s %v", got, err)
	}
	got, err = text(t, p, dump.Options{Overrides: metadata.Overrides{NrDataBlocks: &small}})
	if err == nil || got != "" {
		t.Errorf("a data device that is too small: %.200q, %v", got, err)
	}
	if _, err := text(t, p, dump.Options{Overrides: metadata.Overrides{DataBlockSize: &small}}); err == nil {
		t.Error("an impossible block size is accepted")
	}
}

// A selective dump only reads the path to its device.
func TestReadsLittle(t *testing.T) {
	dev := &counting{Device: fixtures.Mem(t, "many-devices")}
	p := open(t, dev)
	dev.blocks = map[block.Nr]bool{}
	if _, err := text(t, p, dump.Options{Devices: []metadata.DevID{200}}); err != nil {
		t.Fatal(err)
	}
	if len(dev.blocks) > 6 {
		t.Errorf("%d blocks are read for one device of 400 with one leaf", len(dev.blocks))
	}
}

type counting struct {
	block.Device
	blocks map[block.Nr]bool
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	for at := off; c.blocks != nil && at < off+int64(len(p)); at += block.Size {
		c.blocks[block.Nr(at/block.Size)] = true
	}
	return c.Device.ReadAt(p, off)
}

// Damage ends a dump with an error that names the device with the lost mappings.
func TestDamage(t *testing.T) {
	dev := fixtures.Mem(t, "layers")
	p := open(t, dev)
	d, err := p.Device(5)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Mappings(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	for part := range m.Forest.LeafRanges(d.Root) {
		dev.FailReads(part.Block)
		break
	}
	_, err = text(t, p, dump.Options{})
	lost, ok := errors.AsType[*metadata.LostError](err)
	if !ok || lost.Keys.First > 100 {
		t.Errorf("err %v", err)
	}
}

func BenchmarkRun(b *testing.B) {
	const mappings = 252 * 10_000
	builder := write.New(write.Options{})
	runs := make([]metadata.Run, mappings)
	for i := range runs {
		runs[i] = metadata.Run{Thin: metadata.ThinBlock(1_000_000 + 2*i), Data: metadata.DataBlock(10_000_000 + i*7919%mappings), Len: 1, Time: 1}
	}
	dev := blocktest.NewMem(64 << 20)
	err := errors.Join(builder.Begin(metadata.Header{Version: 2, DataBlockSize: 128, NrDataBlocks: 20_000_000}),
		builder.BeginDevice(1, metadata.Details{}), builder.Runs(runs), builder.EndDevice(), builder.End(), builder.Write(b.Context(), dev))
	if err != nil {
		b.Fatal(err)
	}
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(mappings * int64(len(`    <single_mapping origin_block="1000000" data_block="10000000" time="1"/>`+"\n")))
	for b.Loop() {
		if err := dump.Run(b.Context(), p, dump.Options{}, xmlfmt.NewWriter(io.Discard, xmlfmt.Style1)); err != nil {
			b.Fatal(err)
		}
	}
}
