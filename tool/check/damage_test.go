package check_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
)

// owners returns the devices that reach each node of the mapping trees.
func (l *lab) owners() map[block.Nr][]metadata.DevID {
	m, err := l.pool.Mappings(l.TB.Context(), l.devices...)
	if err != nil {
		l.TB.Fatal(err)
	}
	owners := map[block.Nr][]metadata.DevID{}
	for _, d := range l.devices {
		owners[d.Root] = append(owners[d.Root], d.ID)
		for part := range m.Forest.LeafRanges(d.Root) {
			if part.Block != d.Root {
				owners[part.Block] = append(owners[part.Block], d.ID)
			}
		}
	}
	return owners
}

// The fault for a damaged leaf names its block, its range and every device that has it.
func TestDamageNamesDevices(t *testing.T) {
	l := labOf(t, "wide-sharing")
	owners := l.owners()
	var most block.Nr
	for nr, ids := range owners {
		if len(ids) > len(owners[most]) || len(ids) == len(owners[most]) && nr < most {
			most = nr
		}
	}
	if len(owners[most]) < 2 {
		t.Fatal("nothing is shared")
	}
	l.FailReads(most)
	faults, sum := faultsOf(t, l.Mem, check.Options{})
	i := slices.IndexFunc(faults, func(f check.Fault) bool { return f.Code == check.NodeDamaged })
	if i < 0 || sum.Fatal < uint64(len(owners[most])) {
		t.Fatalf("faults: %q", texts(faults))
	}
	if diff := cmp.Diff(owners[most], faults[i].Devices); diff != "" || faults[i].Block == nil || *faults[i].Block != most || faults[i].Lost == nil {
		t.Errorf("%s, want block %d; devices (-want +got):\n%s", &faults[i], most, diff)
	}
	for _, f := range faults {
		if f.Code == check.DataLeak || f.Code == check.MetadataLeak {
			t.Errorf("with damage, counts that are too high prove nothing: %s", &f)
		}
	}
}

// A watched device counts the reads of each block, and fails the reads of one.
type watched struct {
	block.Device
	fail block.Nr // 0: none

	mu    sync.Mutex
	reads map[block.Nr]int
}

var errMedium = errors.New("medium error")

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	first, n := block.Nr(off/block.Size), block.Nr(len(p)/block.Size)
	if w.fail != 0 && w.fail >= first && w.fail < first+n {
		return 0, errMedium
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for nr := first; nr < first+n; nr++ {
		w.reads[nr]++
	}
	return w.Device.ReadAt(p, off)
}

// Each block of an image fails in turn. The check continues, and says which block failed and which
// devices are affected.
func TestReadErrors(t *testing.T) {
	l := labOf(t, "transactions")
	owners, before := l.owners(), l.Contents()
	used := 0
	for nr := block.Nr(1); nr < block.Blocks(l.Mem); nr++ {
		if block.KindOf(l.read(nr)) == block.UnknownKind {
			continue
		}
		faults, sum := faultsOf(t, &watched{Device: l.Mem, fail: nr, reads: map[block.Nr]int{}}, check.Options{Parallel: 2})
		if sum.Fatal == 0 { // left over from earlier transactions
			continue
		}
		used++
		i := slices.IndexFunc(faults, func(f check.Fault) bool { return f.Severity == check.Fatal && f.Block != nil && *f.Block == nr })
		if i < 0 {
			t.Errorf("block %d fails, but the faults are %q", nr, texts(faults))
			continue
		}
		f := faults[i]
		if diff := cmp.Diff(owners[nr], f.Devices); diff != "" || !errors.Is(f.Err, errMedium) {
			t.Errorf("block %d: %s; devices (-want +got):\n%s", nr, &f, diff)
		}
	}
	if want := fixtures.TruthOf(t, "transactions").MetadataUsed - 1; used != int(want) {
		t.Errorf("%d blocks are missed when they fail, want %d", used, want)
	}
	if !slices.Equal(before, l.Contents()) {
		t.Error("the image changed")
	}
	l.FailReads(0)
	if _, err := check.Run(t.Context(), l.Mem, check.Options{}, func(check.Fault) {}); !errors.Is(err, blocktest.ErrFailed) {
		t.Errorf("block 0 cannot be read: error %v, want that of the device", err)
	}
}

// The result does not depend on the number of goroutines.
func TestDeterministic(t *testing.T) {
	l := labOf(t, "wide-sharing")
	for i := range 30 {
		l.scratch(l.leaf(i, i%10))
	}
	for i := range 20 {
		l.put32(l.leaf(i, 12), nodePadding, 1)
		l.addTime(l.leaf(i, 11), 1000)
	}
	l.put32(l.sb.DetailsRoot, detailsValues+20, 0)
	l.zero(l.sb.DataSpaceMap.RefCountRoot)
	want, _ := faultsOf(t, l.Mem, check.Options{Parallel: 1})
	if len(want) < 40 {
		t.Fatalf("only %d faults", len(want))
	}
	for _, parallel := range []int{1, 2, 8} {
		got, _ := faultsOf(t, l.Mem, check.Options{Parallel: parallel})
		if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
			t.Errorf("with %d goroutines (-1 +%d):\n%s", parallel, parallel, diff)
		}
	}
}

// Thousands of snapshots of one device cost no more reads than the device alone.
func TestSharingIsReadOnce(t *testing.T) {
	const devices, leaves = 2000, 60
	f := fixtures.NewForge(t, 512, 100000)
	var nrs []block.Nr
	for i := range leaves {
		nrs = append(nrs, f.Leaf(metadata.Run{Thin: metadata.ThinBlock(300 * i), Data: metadata.DataBlock(300 * i), Len: 200}))
	}
	root := f.Inner(nrs...)
	for id := range metadata.DevID(devices) {
		f.Device(id, root)
	}
	dev := &watched{Device: f.Finish(), reads: map[block.Nr]int{}}
	faults, sum := faultsOf(t, dev, check.Options{Parallel: 1})
	if len(faults) > 0 {
		t.Fatalf("faults: %q", texts(faults))
	}
	if sum.Devices != devices || sum.Mappings != devices*leaves*200 || sum.DistinctLeaves != leaves {
		t.Errorf("summary %+v", sum)
	}
	total := 0
	for _, n := range dev.reads {
		total += n
	}
	// The first child of a node is read to learn what the others are.
	if most := int(sum.MetadataBlocks) + 20; total > most {
		t.Errorf("%d reads for %d blocks, want at most %d", total, sum.MetadataBlocks, most)
	}
}

// Trees that no kernel writes end the check quickly, with a fault.
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
		"deeper than the kernel can go": func(f *fixtures.Forge) block.Nr {
			nr := f.Leaf(metadata.Run{Len: 1})
			for range 100 {
				nr = f.Inner(nr)
			}
			return nr
		},
		"two nodes that are each other's child": func(f *fixtures.Forge) block.Nr {
			a, b := f.Next(), f.Next()
			f.InnerAt(a, btree.Child{Key: 0, Block: b})
			return f.InnerAt(b, btree.Child{Key: 0, Block: a})
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixtures.NewForge(t, 256, 1000)
			root := grow(f)
			for id := range metadata.DevID(5) {
				f.Device(id, root)
			}
			faults, sum := faultsOf(t, f.Finish(), check.Options{})
			if sum.Fatal == 0 {
				t.Errorf("nothing fatal; faults: %q", texts(faults))
			}
			if !strings.Contains(fmt.Sprint(texts(faults)), "devices 0, 1, 2, 3, 4") {
				t.Errorf("the devices are not named: %q", texts(faults))
			}
		})
	}
}
