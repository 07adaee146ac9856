package scan_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/scan"
)

func TestDamage(t *testing.T) {
	garble := func(b *block.Data) { copy(b[200:], "not what was written") }
	for name, tc := range map[string]struct {
		forge  func(*fixtures.Forge)
		damage func(*testing.T, tree)
		want   func(tree) map[block.Nr]string
		more   func(*testing.T, tree, []scan.Row)
	}{
		"zeroed leaf": {
			damage: func(t *testing.T, p tree) { fixtures.Spoil(t, p.dev, p.b, func(b *block.Data) { *b = block.Data{} }) },
			want:   func(p tree) map[block.Nr]string { return map[block.Nr]string{p.b: "all zero, but used for mappings"} },
			more: func(t *testing.T, p tree, rows []scan.Row) {
				r := at(t, rows, p.b)
				if r.Kind != survey.Empty || r.Checksum != scan.NoChecksum || *r.Keys != (btree.KeyRange{First: 100, Last: math.MaxUint64}) || r.Owners[0].Devices != 2 {
					t.Errorf("%+v", r)
				}
			},
		},
		"garbled leaf": {
			damage: func(t *testing.T, p tree) { fixtures.Spoil(t, p.dev, p.a, garble) },
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.a: fmt.Sprintf("block %d: bad checksum in btree node: ", p.a)}
			},
			more: func(t *testing.T, p tree, rows []scan.Row) {
				if r := at(t, rows, p.a); r.Kind != survey.Unknown || r.Checksum != scan.WrongChecksum || *r.Keys != (btree.KeyRange{First: 0, Last: 99}) {
					t.Errorf("%+v", r)
				}
			},
		},
		"flipped bit in an internal node": {
			damage: func(t *testing.T, p tree) { fixtures.Spoil(t, p.dev, p.first, func(b *block.Data) { b[33] ^= 4 }) },
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.first: "bit 2 of byte 0x21 is flipped; corrected, it is a valid btree node"}
			},
			more: func(t *testing.T, p tree, rows []scan.Row) {
				if r := at(t, rows, p.first); r.Kind != survey.Inner || r.Checksum != scan.WrongChecksum || r.Correction == nil || r.Correction.Mask != 1<<2 {
					t.Errorf("%+v", r)
				}
			},
		},
		"flipped bit in the superblock": {
			damage: func(t *testing.T, p tree) { fixtures.Spoil(t, p.dev, 0, func(b *block.Data) { b[321] ^= 1 }) },
			want:   func(tree) map[block.Nr]string { return map[block.Nr]string{0: "bit 0 of byte 0x141 is flipped"} },
		},
		"misplaced leaf": {
			damage: func(t *testing.T, p tree) {
				var b block.Data
				if err := errors.Join(block.Read(p.dev, p.c, &b), block.Write(p.dev, p.a, &b)); err != nil {
					t.Fatal(err)
				}
			},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.a: fmt.Sprintf("misplaced: it says it is block %d", p.c)}
			},
			more: func(t *testing.T, p tree, rows []scan.Row) {
				if r := at(t, rows, p.a); r.Kind != survey.MappingLeaf || r.Checksum != scan.RightChecksum || r.Self == nil || *r.Self != p.c {
					t.Errorf("%+v", r)
				}
			},
		},
		"read error": {
			damage: func(_ *testing.T, p tree) { p.dev.FailReads(p.b) },
			want:   func(p tree) map[block.Nr]string { return map[block.Nr]string{p.b: "cannot be read"} },
			more: func(t *testing.T, p tree, rows []scan.Row) {
				if r := at(t, rows, p.b); r.Kind != survey.Unreadable || r.Owners[0].Devices != 2 {
					t.Errorf("%+v", r)
				}
			},
		},
		"lost internal node": {
			damage: func(t *testing.T, p tree) { fixtures.Spoil(t, p.dev, p.first, garble) },
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{
					p.first: fmt.Sprintf("block %d: bad checksum in btree node", p.first),
					p.a:     "count is 1, but 0 references were found; nodes that cannot be read may have others",
					p.b:     "count is 2, but 1 reference was found; nodes that cannot be read may have others",
				}
			},
			more: func(t *testing.T, p tree, rows []scan.Row) {
				if r := at(t, rows, p.a); r.Use != scan.Unowned || r.Kind != survey.MappingLeaf {
					t.Errorf("%+v", r)
				}
			},
		},
		"lost root": {
			damage: func(t *testing.T, p tree) { fixtures.Spoil(t, p.dev, p.sb.DetailsRoot, garble) },
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.sb.DetailsRoot: fmt.Sprintf("block %d: bad checksum in btree node", p.sb.DetailsRoot)}
			},
			more: func(t *testing.T, p tree, rows []scan.Row) {
				if r := at(t, rows, p.sb.DetailsRoot); *r.Keys != btree.AllKeys || r.Owners[0].Tree != scan.Details {
					t.Errorf("%+v", r)
				}
			},
		},
		"damaged metadata snapshot": {
			forge:  func(f *fixtures.Forge) { f.Held = true },
			damage: func(t *testing.T, p tree) { fixtures.Edit(t, p.dev, p.sb.HeldRoot, func(b *block.Data) { b[32]++ }) },
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{
					p.sb.HeldRoot:    fmt.Sprintf("block %d, byte 0x20: magic is ", p.sb.HeldRoot),
					p.sb.MappingRoot: "count is 2, but 1 reference was found; nodes",
					p.sb.DetailsRoot: "count is 2, but 1 reference was found; nodes",
				}
			},
		},
		"leak": {
			forge:  func(f *fixtures.Forge) { f.LeakMetadata() },
			damage: func(*testing.T, tree) {},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.second + 1: "count is 1, but 0 references were found"}
			},
		},
		"leaf of another range": {
			damage: func(t *testing.T, p tree) {
				fixtures.Edit(t, p.dev, p.a, func(b *block.Data) { le.PutUint64(b[32+8*99:], 150) })
			},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.a: "holds keys 0..150, but its parent, block "}
			},
		},
		"wild pointer": {
			damage: func(t *testing.T, p tree) {
				fixtures.Edit(t, p.dev, p.first, func(b *block.Data) { le.PutUint64(b[32+8*252:], 1<<40) })
			},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{
					p.first: fmt.Sprintf("mappings: block %d, entry 0: points to block 1099511627776, want 1..63", p.first),
					p.a:     "count is 1, but 0 references were found",
				}
			},
		},
		"a bitmap as a leaf": {
			damage: func(t *testing.T, p tree) {
				var b block.Data
				block.Seal(p.a, &b, block.Bitmap)
				if err := block.Write(p.dev, p.a, &b); err != nil {
					t.Fatal(err)
				}
			},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.a: "not the kind it is used as: mappings"}
			},
		},
		"one block for two trees": {
			damage: func(t *testing.T, p tree) {
				fixtures.Edit(t, p.dev, 0, func(b *block.Data) { copy(b[320:328], b[328:336]) })
			},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{
					p.sb.DetailsRoot: "not the kind it is used as: top level; used for top level and for device details; count is 1, but 2 references were found",
					p.sb.MappingRoot: "count is 1, but 0", p.a: "count is 1, but 0", p.b: "count is 2, but 0", p.c: "count is 1, but 0", p.first: "count is 1, but 0", p.second: "count is 1, but 0",
				}
			},
		},
		"a loop": {
			damage: func(t *testing.T, p tree) {
				fixtures.Edit(t, p.dev, p.first, func(b *block.Data) { le.PutUint64(b[32+8*252:], uint64(p.first)) })
			},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.first: "count is 1, but 2 references were found", p.a: "count is 1, but 0 references were found"}
			},
		},
		"overflow tree without a count": {
			forge: func(f *fixtures.Forge) {
				f.Device(3, f.Inner(f.Leaf(metadata.Run{Data: 300, Len: 1})))
			},
			damage: func(t *testing.T, p tree) {
				rows, _ := run(t, p.dev, scan.Options{})
				for _, r := range rows {
					if len(r.Owners) > 0 && r.Owners[0].Tree == scan.MetadataBitmap {
						fixtures.Edit(t, p.dev, r.First, func(b *block.Data) { b[16+p.a/4] |= 3 << (2 * (p.a % 4)) })
					}
				}
			},
			want: func(p tree) map[block.Nr]string {
				return map[block.Nr]string{p.a: "its bitmap says a count of 3 or more, but the overflow tree has none; 1 reference was found"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := forge(t, tc.forge)
			tc.damage(t, p)
			rows, sum := run(t, p.dev, scan.Options{})
			want, got := tc.want(p), faulty(rows)
			for nr, text := range want {
				if !strings.Contains(got[nr], text) {
					t.Errorf("block %d: %q, want %q", nr, got[nr], text)
				}
			}
			if len(got) != len(want) || sum.Superblock != nil {
				t.Errorf("faults in %v, want %v; superblock: %v", got, want, sum.Superblock)
			}
			only, _ := run(t, p.dev, scan.Options{FaultsOnly: true})
			if len(only) != len(want) {
				t.Errorf("faults alone are %d rows, want %d", len(only), len(want))
			}
			if tc.more != nil {
				tc.more(t, p, rows)
			}
		})
	}
}

// Even without a superblock, the kinds are known.
func TestNoSuperblock(t *testing.T) {
	for name, damage := range map[string]func(*blocktest.Mem){
		"zero":       func(dev *blocktest.Mem) { _ = block.Write(dev, 0, new(block.Data)) },
		"garbled":    func(dev *blocktest.Mem) { fixtures.Spoil(t, dev, 0, func(b *block.Data) { copy(b[64:], "garbled") }) },
		"unreadable": func(dev *blocktest.Mem) { dev.FailReads(0) },
	} {
		t.Run(name, func(t *testing.T) {
			p := forge(t, nil)
			damage(p.dev)
			rows, sum := run(t, p.dev, scan.Options{})
			if sum.Superblock == nil || sum.Used != 0 {
				t.Errorf("%+v", sum)
			}
			r := at(t, rows, p.a)
			if r.Kind != survey.MappingLeaf || r.Use != scan.UnknownOwner || r.Stored != nil || r.Counted != nil || r.Checksum != scan.RightChecksum {
				t.Errorf("%+v", r)
			}
		})
	}
	p := forge(t, nil)
	for nr := range block.Blocks(p.dev) {
		p.dev.FailReads(nr)
	}
	if _, err := scan.Run(t.Context(), p.dev, scan.Options{}, nil); !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("a dead device: %v", err)
	}
}

func TestEndsEarly(t *testing.T) {
	enough := errors.New("enough")
	dev := fixtures.Mem(t, "empty")
	if _, err := scan.Run(t.Context(), dev, scan.Options{}, func(scan.Row) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Run: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scan.Run(ctx, dev, scan.Options{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}
