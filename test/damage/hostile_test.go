package damage

import (
	"context"
	"errors"
	"math"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/ls"
)

// Limits for hostile input. The images are small; the cost must depend on their size, not on what
// they claim.
const (
	mostTime   = 10 * time.Second
	mostMemory = 64 << 20
)

// bounded runs f with a deadline and checks that it finishes in time and with little memory.
func bounded(t *testing.T, f func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), mostTime)
	defer cancel()
	runtime.GC()
	before, peak := inUse(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, inUse())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	begin := time.Now()
	err := f(ctx)
	close(stop)
	<-stopped
	if took := time.Since(begin); took > mostTime {
		t.Errorf("took %v", took)
	}
	if peak > before+mostMemory {
		t.Errorf("took %d MiB", (peak-before)>>20)
	}
	return err
}

// inUse returns the memory used by objects and stacks.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}

// ignore is a visitor that does nothing.
type ignore struct{}

func (ignore) Begin(metadata.Header) error                        { return nil }
func (ignore) BeginDef(string) error                              { return nil }
func (ignore) EndDef() error                                      { return nil }
func (ignore) BeginDevice(metadata.DevID, metadata.Details) error { return nil }
func (ignore) Ref(string) error                                   { return nil }
func (ignore) Runs([]metadata.Run) error                          { return nil }
func (ignore) EndDevice() error                                   { return nil }
func (ignore) End() error                                         { return nil }

// readers are the tools that read damaged metadata.
var readers = map[string]func(ctx context.Context, dev block.Device) error{
	"dump": func(ctx context.Context, dev block.Device) error {
		p, err := metadata.Open(dev, metadata.Options{Parallel: 1})
		if err != nil {
			return err
		}
		return dump.Run(ctx, p, dump.Options{}, ignore{})
	},
	"dump -m": func(ctx context.Context, dev block.Device) error {
		p, err := metadata.Open(dev, metadata.Options{Parallel: 1, Snapshot: true})
		if err != nil {
			return err
		}
		return dump.Run(ctx, p, dump.Options{Flat: true}, ignore{})
	},
	"dump into restore": func(ctx context.Context, dev block.Device) error {
		p, err := metadata.Open(dev, metadata.Options{Parallel: 1})
		if err != nil {
			return err
		}
		b := write.New(write.Options{Parallel: 1})
		if err := dump.Run(ctx, p, dump.Options{}, b); err != nil {
			return err
		}
		return b.Write(ctx, blocktest.NewMem(256*block.Size))
	},
	"ls": func(ctx context.Context, dev block.Device) error {
		p, err := metadata.Open(dev, metadata.Options{Parallel: 1})
		if err != nil {
			return err
		}
		_, err = ls.Run(ctx, p, ls.Options{Sharing: true, Highest: true})
		return err
	},
}

// Offsets in a superblock.
const (
	offHeldRoot       = 56
	offDataMap        = 64
	offMetadataMap    = 192
	offMappingRoot    = 320
	offDetailsRoot    = 328
	bitmapRoot        = 16 // in a space map's root
	refCountRoot      = 24
	huge              = 1 << 50
	nodeEntries       = 16
	nodeMax           = 20
	nodeValueSize     = 24
	nodeKeys          = 32
	mappingValues     = nodeKeys + 8*252
	detailsValues     = nodeKeys + 8*126
	overflowValues    = nodeKeys + 8*336
	indexValues       = nodeKeys + 8*168
	indexBlockEntries = 16
)

// A spoiler damages a sound image. It also gets the superblock.
type spoiler struct {
	name  string
	spoil func(e *editor, sb *metadata.Superblock)
	fatal bool // a check must report damage that the kernel would refuse, or that loses data
}

type editor struct {
	tb  testing.TB
	dev *blocktest.Mem
}

func (e *editor) put64(nr block.Nr, at int, v uint64) {
	fixtures.Edit(e.tb, e.dev, nr, func(b *block.Data) { le.PutUint64(b[at:], v) })
}

func (e *editor) put32(nr block.Nr, at int, v uint32) {
	fixtures.Edit(e.tb, e.dev, nr, func(b *block.Data) { le.PutUint32(b[at:], v) })
}

func (e *editor) get64(nr block.Nr, at int) block.Nr {
	var b block.Data
	if err := block.Read(e.dev, nr, &b); err != nil {
		e.tb.Fatal(err)
	}
	return block.Nr(le.Uint64(b[at:]))
}

// copyTo copies a block to another position and updates its self reference.
func (e *editor) copyTo(from, to block.Nr) {
	var b block.Data
	if err := block.Read(e.dev, from, &b); err != nil {
		e.tb.Fatal(err)
	}
	block.Seal(to, &b, block.KindOf(&b))
	if err := block.Write(e.dev, to, &b); err != nil {
		e.tb.Fatal(err)
	}
}

// root returns the root of the first device.
func (e *editor) root(sb *metadata.Superblock) block.Nr {
	return e.get64(sb.MappingRoot, mappingValues)
}

var spoilers = []spoiler{
	{"data nr_blocks 2^50", func(e *editor, _ *metadata.Superblock) { e.put64(0, offDataMap, huge) }, true},
	{"data nr_blocks 2^64-1", func(e *editor, _ *metadata.Superblock) { e.put64(0, offDataMap, math.MaxUint64) }, true},
	{"data nr_blocks 0", func(e *editor, _ *metadata.Superblock) { e.put64(0, offDataMap, 0) }, true},
	{"metadata nr_blocks 2^50", func(e *editor, _ *metadata.Superblock) { e.put64(0, offMetadataMap, huge) }, true},
	{"metadata nr_blocks 2^64-1", func(e *editor, _ *metadata.Superblock) { e.put64(0, offMetadataMap, math.MaxUint64) }, true},
	{"metadata nr_blocks of the largest device", func(e *editor, _ *metadata.Superblock) { e.put64(0, offMetadataMap, 4161600) }, true},
	{"metadata nr_blocks 1", func(e *editor, _ *metadata.Superblock) { e.put64(0, offMetadataMap, 1) }, true},
	{"metadata nr_blocks 0", func(e *editor, _ *metadata.Superblock) { e.put64(0, offMetadataMap, 0) }, true},
	{"mapping root 2^50", func(e *editor, _ *metadata.Superblock) { e.put64(0, offMappingRoot, huge) }, true},
	{"mapping root 0", func(e *editor, _ *metadata.Superblock) { e.put64(0, offMappingRoot, 0) }, true},
	{"mapping root is that of the details", func(e *editor, sb *metadata.Superblock) { e.put64(0, offMappingRoot, uint64(sb.DetailsRoot)) }, true},
	{"mapping root is a device's", func(e *editor, sb *metadata.Superblock) { e.put64(0, offMappingRoot, uint64(e.root(sb))) }, true},
	{"details root is the mapping root", func(e *editor, sb *metadata.Superblock) { e.put64(0, offDetailsRoot, uint64(sb.MappingRoot)) }, true},
	{"details root 2^64-1", func(e *editor, _ *metadata.Superblock) { e.put64(0, offDetailsRoot, math.MaxUint64) }, true},
	{"snapshot at 2^50", func(e *editor, _ *metadata.Superblock) { e.put64(0, offHeldRoot, huge) }, true},
	{"snapshot is a node", func(e *editor, sb *metadata.Superblock) { e.put64(0, offHeldRoot, uint64(sb.MappingRoot)) }, true},
	{"snapshot of itself", func(e *editor, sb *metadata.Superblock) { e.put64(sb.HeldRoot, offHeldRoot, uint64(sb.HeldRoot)) }, false},
	{"snapshot with live roots", func(e *editor, sb *metadata.Superblock) { e.copyTo(0, sb.HeldRoot) }, false},
	{"bitmaps of the data are its counts", func(e *editor, sb *metadata.Superblock) {
		e.put64(0, offDataMap+bitmapRoot, uint64(sb.DataSpaceMap.RefCountRoot))
	}, true},
	{"counts of the data are its bitmaps", func(e *editor, sb *metadata.Superblock) {
		e.put64(0, offDataMap+refCountRoot, uint64(sb.DataSpaceMap.BitmapRoot))
	}, true},
	{"index of the metadata is a node", func(e *editor, sb *metadata.Superblock) {
		e.put64(0, offMetadataMap+bitmapRoot, uint64(sb.MappingRoot))
	}, true},
	{"bitmap of the metadata at 2^50", func(e *editor, sb *metadata.Superblock) {
		e.put64(sb.MetadataSpaceMap.BitmapRoot, indexBlockEntries, huge)
	}, true},
	{"bitmap of the metadata is the data's", func(e *editor, sb *metadata.Superblock) {
		e.put64(sb.MetadataSpaceMap.BitmapRoot, indexBlockEntries, uint64(e.get64(sb.DataSpaceMap.BitmapRoot, indexValues)))
	}, true},
	{"index key 2^64-1", func(e *editor, sb *metadata.Superblock) {
		e.put64(sb.DataSpaceMap.BitmapRoot, nodeKeys+8, math.MaxUint64)
	}, true},
	{"node with 2^32-1 entries", func(e *editor, sb *metadata.Superblock) { e.put32(e.root(sb), nodeEntries, math.MaxUint32) }, true},
	{"node with room for 2^32-1 entries", func(e *editor, sb *metadata.Superblock) {
		e.put32(e.root(sb), nodeEntries, math.MaxUint32)
		e.put32(e.root(sb), nodeMax, math.MaxUint32)
	}, true},
	{"room that overflows 32 bits", func(e *editor, sb *metadata.Superblock) { e.put32(e.root(sb), nodeMax, 1<<28) }, true},
	{"values of 0 bytes", func(e *editor, sb *metadata.Superblock) { e.put32(sb.DetailsRoot, nodeValueSize, 0) }, true},
	{"values of 2^32-1 bytes", func(e *editor, sb *metadata.Superblock) { e.put32(sb.DetailsRoot, nodeValueSize, math.MaxUint32) }, true},
	{"child is the node itself", func(e *editor, sb *metadata.Superblock) { e.put64(e.root(sb), mappingValues, uint64(e.root(sb))) }, true},
	{"child is the parent", func(e *editor, sb *metadata.Superblock) {
		e.put64(e.get64(e.root(sb), mappingValues), mappingValues, uint64(e.root(sb)))
	}, true},
	{"child is the top level", func(e *editor, sb *metadata.Superblock) { e.put64(e.root(sb), mappingValues, uint64(sb.MappingRoot)) }, true},
	{"child is the superblock", func(e *editor, sb *metadata.Superblock) { e.put64(e.root(sb), mappingValues, 0) }, true},
	{"child at 2^64-1", func(e *editor, sb *metadata.Superblock) { e.put64(e.root(sb), mappingValues, math.MaxUint64) }, true},
	{"device's root is the top level", func(e *editor, sb *metadata.Superblock) {
		e.put64(sb.MappingRoot, mappingValues, uint64(sb.MappingRoot))
	}, true},
	{"device 2^64-1", func(e *editor, sb *metadata.Superblock) {
		e.put64(sb.MappingRoot, nodeKeys+8*3, math.MaxUint64)
		e.put64(sb.DetailsRoot, nodeKeys+8*3, math.MaxUint64)
	}, false},
	{"2^64-1 mapped blocks", func(e *editor, sb *metadata.Superblock) { e.put64(sb.DetailsRoot, detailsValues, math.MaxUint64) }, true},
	{"mapping to data block 2^40-1", func(e *editor, sb *metadata.Superblock) {
		e.put64(e.get64(sb.MappingRoot, mappingValues+8*3), mappingValues, math.MaxUint64)
	}, true},
	{"thin block 2^64-1", func(e *editor, sb *metadata.Superblock) {
		e.put64(e.get64(sb.MappingRoot, mappingValues+8*3), nodeKeys+8*89, math.MaxUint64)
	}, false},
	{"count of data block 2^63", func(e *editor, sb *metadata.Superblock) {
		e.put64(sb.DataSpaceMap.RefCountRoot, nodeKeys, 1<<63)
		e.put32(sb.DataSpaceMap.RefCountRoot, overflowValues, math.MaxUint32)
		e.put32(sb.DataSpaceMap.RefCountRoot, nodeEntries, 1)
	}, false},
}

// Whatever metadata claims, every tool finishes soon, uses little memory and says clearly what is
// wrong.
func TestHostileMetadata(t *testing.T) {
	for _, s := range spoilers {
		t.Run(s.name, func(t *testing.T) {
			dev := fixtures.Small(t)
			p, err := metadata.Open(dev, metadata.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s.spoil(&editor{t, dev}, &p.Superblock)
			tryTools(t, dev, s.fatal)
		})
	}
}

// tryTools runs all tools on a device.
func tryTools(t *testing.T, dev block.Device, fatal bool) {
	t.Helper()
	tryReaders(t, dev, fatal)
	if err := bounded(t, func(ctx context.Context) error { return tryRepair(ctx, t, dev) }); err != nil && errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("repair: %v", err)
	}
}

// tryReaders runs all tools that follow the superblock.
func tryReaders(t *testing.T, dev block.Device, fatal bool) {
	t.Helper()
	var sum check.Summary
	var texts []string
	err := bounded(t, func(ctx context.Context) (err error) {
		sum, err = check.Run(ctx, dev, check.Options{Parallel: 1}, func(f check.Fault) { texts = append(texts, f.String()) })
		return err
	})
	if err != nil || (sum.Fatal > 0) != fatal {
		t.Errorf("check: error %v, %d fatal faults, want some: %v; faults:\n%s", err, sum.Fatal, fatal, strings.Join(texts, "\n"))
	}
	for name, tool := range readers {
		err := bounded(t, func(ctx context.Context) error { return tool(ctx, dev) })
		if err != nil && !errors.Is(err, block.ErrCorrupt) && sum.Fatal == 0 && name != "dump into restore" {
			t.Errorf("%s: %v, though the check finds nothing fatal", name, err)
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Errorf("%s: an error without a text", name)
		}
	}
}

// A vast device is a sparse file of the maximum size.
type vast struct {
	*blocktest.Mem
	size int64
}

func (v vast) Size() int64 { return v.size }

func (v vast) ReadAt(p []byte, off int64) (int, error) {
	if off >= v.Mem.Size() {
		clear(p)
		return len(p), nil
	}
	n := min(int64(len(p)), v.Mem.Size()-off)
	clear(p[n:])
	if _, err := v.Mem.ReadAt(p[:n], off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A device as large as the metadata claims changes nothing.
func TestVastDevice(t *testing.T) {
	for name, blocks := range map[string]uint64{"2^50 blocks": huge, "the largest": 4161600, "one more": 4161601} {
		t.Run(name, func(t *testing.T) {
			dev := fixtures.Small(t)
			(&editor{t, dev}).put64(0, offMetadataMap, blocks)
			tryReaders(t, vast{dev, huge * block.Size}, true)
			// A repair scans every block that metadata can have, which takes long here. But it must
			// stop on request.
			bounded(t, func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
				defer cancel()
				return tryRepair(ctx, t, vast{dev, huge * block.Size})
			})
		})
	}
}

// Trees may reach one node through a huge number of paths.
func TestHostileTrees(t *testing.T) {
	for name, grow := range map[string]func(f *fixtures.Forge) block.Nr{
		"each level points 252 times at the next": func(f *fixtures.Forge) block.Nr {
			nr := f.Leaf(metadata.Run{Len: 1})
			for range 20 {
				entries := make([]btree.Child, 252)
				for i := range entries {
					entries[i] = btree.Child{Key: uint64(i), Block: nr}
				}
				nr = f.InnerAt(f.Next(), entries...)
			}
			return nr
		},
		"two ways at each of 40 levels": func(f *fixtures.Forge) block.Nr {
			a, b := f.Leaf(metadata.Run{Len: 1}), f.Leaf(metadata.Run{Thin: 1 << 60, Data: 1, Len: 1})
			for range 40 {
				x := f.InnerAt(f.Next(), btree.Child{Key: 0, Block: a}, btree.Child{Key: 1 << 60, Block: b})
				b = f.InnerAt(f.Next(), btree.Child{Key: 0, Block: a}, btree.Child{Key: 1 << 60, Block: b})
				a = x
			}
			return f.InnerAt(f.Next(), btree.Child{Key: 0, Block: a}, btree.Child{Key: 1 << 60, Block: b})
		},
		"a ring of 100 nodes": func(f *fixtures.Forge) block.Nr {
			ring := make([]block.Nr, 100)
			for i := range ring {
				ring[i] = f.Next()
			}
			for i := range ring {
				f.InnerAt(ring[i], btree.Child{Key: 0, Block: ring[(i+1)%len(ring)]}, btree.Child{Key: 7, Block: ring[(i+2)%len(ring)]})
			}
			return ring[0]
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixtures.NewForge(t, 256, 1000)
			root := grow(f)
			for id := range metadata.DevID(5) {
				f.Device(id, root)
			}
			tryTools(t, f.Finish(), true)
		})
	}
}
