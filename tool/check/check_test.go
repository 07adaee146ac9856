package check_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"thinpool/fixtures"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/test/shared"
	"thinpool/tool/check"
)

// faultsOf checks dev and returns all faults. The check must not write.
func faultsOf(t testing.TB, dev block.Device, opt check.Options) ([]check.Fault, check.Summary) {
	t.Helper()
	var faults []check.Fault
	sum, err := check.Run(t.Context(), readOnly{dev}, opt, func(f check.Fault) { faults = append(faults, f) })
	if err != nil {
		t.Fatal(err)
	}
	return faults, sum
}

func texts(faults []check.Fault) []string {
	var s []string
	for _, f := range faults {
		s = append(s, f.String())
	}
	return s
}

type readOnly struct{ block.Device }

func (readOnly) WriteAt([]byte, int64) (int, error) { panic("a check writes") }
func (readOnly) Flush() error                       { panic("a check writes") }

// The check agrees with what is known about the images.
func TestKernelImages(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			truth := fixtures.TruthOf(t, name)
			faults, sum := faultsOf(t, fixtures.Mem(t, name), check.Options{})
			var got, want []check.Code
			for _, f := range faults {
				got = append(got, f.Code)
			}
			if truth.NeedsCheck {
				want = append(want, check.NeedsCheckSet)
			}
			if truth.Verify == 3 { // two leaks
				want = append(want, check.DataLeak, check.DataLeak)
			}
			if diff := cmp.Diff(want, got); diff != "" || sum.Fatal+sum.NonFatal != 0 {
				t.Errorf("faults %q; codes (-want +got):\n%s", texts(faults), diff)
			}
			if sum.Devices != truth.Devices || sum.Mappings != truth.Mappings || sum.MetadataBlocks != truth.MetadataUsed {
				t.Errorf("%d devices, %d mappings, %d blocks; want %d, %d, %d",
					sum.Devices, sum.Mappings, sum.MetadataBlocks, truth.Devices, truth.Mappings, truth.MetadataUsed)
			}
		})
	}
}

// More kernel images may be next to the repository.
func TestMoreKernelImages(t *testing.T) {
	corpus := shared.Path(t, "kernel", "corpus")
	index, err := os.ReadFile(filepath.Join(corpus, "INDEX.md"))
	if err != nil {
		t.Fatal(err)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	for line := range strings.Lines(string(index)) {
		const columns = 17
		row := strings.Split(line, " | ")
		name := strings.TrimPrefix(row[0], "| ")
		if len(row) != columns || name == "name" || strings.HasPrefix(name, "-") || slices.Contains(fixtures.Names(), name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			packed, err := os.ReadFile(filepath.Join(corpus, name+".img.zst"))
			if err != nil {
				t.Fatal(err)
			}
			image, err := dec.DecodeAll(packed, nil)
			if err != nil {
				t.Fatal(err)
			}
			faults, sum := faultsOf(t, blocktest.NewMemFrom(image), check.Options{})
			if len(faults) > 0 || row[6] != "0" {
				t.Errorf("faults %q, but the independent checker exits with %s", texts(faults), row[6])
			}
			if fmt.Sprint(sum.Devices) != row[8] || fmt.Sprint(sum.Mappings) != row[9] {
				t.Errorf("%d devices, %d mappings; want %s, %s", sum.Devices, sum.Mappings, row[8], row[9])
			}
		})
	}
}

func TestOptions(t *testing.T) {
	l := labOf(t, "metadata-snap")
	l.WriteAt([]byte{0xff}, int64(l.leaf(2, 0))*block.Size+77) // of device 3, created after the snapshot
	count := func(opt check.Options) uint64 {
		_, sum := faultsOf(t, l.Mem, opt)
		return sum.Fatal
	}
	if n := count(check.Options{}); n == 0 {
		t.Error("the damage is not found")
	}
	for name, opt := range map[string]check.Options{
		"snapshot": {Snapshot: true}, "superblock only": {SuperblockOnly: true}, "skip mappings": {SkipMappings: true},
	} {
		if n := count(opt); n != 0 {
			t.Errorf("%s: %d fatal faults of a part that is not checked", name, n)
		}
	}
	faults, _ := faultsOf(t, fixtures.Mem(t, "layers"), check.Options{Snapshot: true})
	if len(faults) != 1 || faults[0].Code != check.SnapshotMissing {
		t.Errorf("no snapshot: %v", texts(faults))
	}
	faults, sum := faultsOf(t, fixtures.Mem(t, "layers"), check.Options{MappingRoot: l.sb.MappingRoot + 1})
	if sum.Fatal == 0 {
		t.Errorf("a wrong root passes: %v", texts(faults))
	}
}

// A cancelled check ends with the context's error.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := check.Run(ctx, fixtures.Mem(t, "layers"), check.Options{}, func(check.Fault) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}
