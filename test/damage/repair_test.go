package damage

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"thinpool/fixtures"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

// tryRepair repairs dev and checks that the result is sound. It returns an error if the repair is
// refused.
func tryRepair(ctx context.Context, t *testing.T, dev block.Device) error {
	t.Helper()
	size := uint64(metadata.MinDataBlockSize)
	res, err := repair.Find(ctx, dev, repair.Options{Parallel: 1, Overrides: metadata.Overrides{DataBlockSize: &size}})
	if err != nil {
		return err
	}
	pool, err := metadata.Open(res.Device, metadata.Options{Parallel: 1})
	if err != nil {
		t.Errorf("repair: its result cannot be opened: %v", err)
		return nil
	}
	b := write.New(write.Options{Parallel: 1})
	if err := dump.Run(ctx, pool, dump.Options{}, b); err != nil {
		if errors.Is(err, block.ErrCorrupt) {
			t.Errorf("repair: its result is damaged: %v", err)
		}
		return err
	}
	// An image may claim a data device whose space map alone is too large for a test.
	const most = 4096 // blocks
	if b.Least() > most {
		return nil
	}
	out := blocktest.NewMem(int64(b.Least()) * block.Size)
	if err := b.Write(ctx, out); err != nil {
		t.Errorf("repair: its result cannot be written: %v", err)
		return nil
	}
	_, err = check.Run(ctx, out, check.Options{Parallel: 1}, func(f check.Fault) {
		if !slices.Contains(sealedMayHave, f.Code) {
			t.Errorf("repair: its result has a fault: %s", &f)
		}
	})
	return err
}

// An edit of the fuzzed image: block, offset, sealed or not, and eight bytes.
const editSize = 1 + 2 + 1 + 8

func edit(nr block.Nr, at int, sealed bool, v uint64) []byte {
	p := []byte{byte(nr), 0, 0, 0}
	le.PutUint16(p[1:], uint16(at))
	if sealed {
		p[3] = 1
	}
	return le.AppendUint64(p, v)
}

// For any image, check, dump, ls and repair finish without a panic, a dump of sound metadata
// succeeds, and the result of a repair is sound.
func FuzzImage(f *testing.F) {
	image := fixtures.Small(f).Contents()
	pool, err := metadata.Open(blocktest.NewMemFrom(image), metadata.Options{})
	if err != nil {
		f.Fatal(err)
	}
	sb := pool.Superblock
	f.Add(edit(0, 0, false, 0))
	f.Add(edit(0, offMappingRoot, true, uint64(sb.DetailsRoot)))
	f.Add(edit(0, offHeldRoot, true, 0))
	f.Add(slices.Concat(edit(sb.MappingRoot, 0, false, 1), edit(sb.DetailsRoot, 0, false, 1)))
	f.Add(edit(sb.MappingRoot, mappingValues, true, uint64(sb.MappingRoot)))
	f.Add(edit(sb.DetailsRoot, detailsValues, true, math.MaxUint64))
	f.Add(edit(1, mappingValues, true, math.MaxUint64))
	f.Add(edit(1, nodeEntries, true, 1<<32|300))
	f.Add(edit(sb.MetadataSpaceMap.BitmapRoot, indexBlockEntries, true, 1))
	f.Fuzz(func(t *testing.T, edits []byte) {
		// A tool that never finishes would only look like slow fuzzing.
		defer time.AfterFunc(mostTime, func() { panic("no tool takes so long for 64 blocks") }).Stop()
		dev := blocktest.NewMemFrom(slices.Clone(image))
		for ; len(edits) >= editSize; edits = edits[editSize:] {
			nr := block.Nr(edits[0]) % block.Blocks(dev)
			var b block.Data
			if err := block.Read(dev, nr, &b); err != nil {
				t.Fatal(err)
			}
			kind := block.KindOf(&b)
			copy(b[le.Uint16(edits[1:])%block.Size:], edits[4:editSize])
			if edits[3]&1 != 0 && kind != block.UnknownKind {
				block.Reseal(&b, kind)
			}
			if err := block.Write(dev, nr, &b); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := check.Run(t.Context(), dev, check.Options{Parallel: 1}, func(check.Fault) {})
		if err != nil {
			t.Fatal(err)
		}
		for name, tool := range readers {
			err := tool(t.Context(), dev)
			if err != nil && sum.Fatal == 0 && name != "dump -m" {
				t.Errorf("%s: %v, though the check finds nothing fatal", name, err)
			}
		}
		_ = tryRepair(t.Context(), t, dev) // it may refuse
	})
}
