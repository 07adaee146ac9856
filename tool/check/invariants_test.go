package check_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
)

// A spoiled image has a single fault.
type spoiled struct {
	name     string
	spoil    func(l *lab) block.Nr // returns where the fault is
	code     check.Code
	severity check.Severity
	devices  []metadata.DevID // affected devices
	text     string           // text the fault must contain
	also     []check.Code     // other faults that follow from it
}

// nowhere is what spoil returns if the fault is not in a single block.
const nowhere = ^block.Nr(0)

func ids(ids ...metadata.DevID) []metadata.DevID { return ids }

func also(codes ...check.Code) []check.Code { return codes }

// scattered says that spoil's change does not show up in a single block.
func scattered(block.Nr) block.Nr { return nowhere }

// Each invariant of the format, broken alone. The devices of the image are 6, 7, 8 and 16777215;
// its trees of devices and of high counts are single leaves.
func TestInvariants(t *testing.T) {
	image, err := fixtures.Image("deleted-discarded")
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, table := range [][]spoiled{brokenBlocks, brokenTrees, brokenDevices, brokenSpaceMaps} {
		for _, tc := range table {
			covered[strings.Fields(tc.name)[0]] = true
			t.Run(tc.name, func(t *testing.T) { tc.test(t, newLab(t, image)) })
		}
	}
	held, err := fixtures.Image("metadata-snap")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range brokenSnapshots {
		covered[strings.Fields(tc.name)[0]] = true
		t.Run(tc.name, func(t *testing.T) { tc.test(t, newLab(t, held)) })
	}
	for i := 1; i <= 44; i++ {
		if !covered[fmt.Sprintf("I%d", i)] {
			t.Errorf("invariant I%d is not tested", i)
		}
	}
}

func (tc *spoiled) test(t *testing.T, l *lab) {
	where := tc.spoil(l)
	faults, _ := faultsOf(t, l.Mem, check.Options{Parallel: 1})
	i := slices.IndexFunc(faults, func(f check.Fault) bool {
		return f.Code == tc.code && strings.Contains(f.String(), tc.text)
	})
	if i < 0 {
		t.Fatalf("no fault %s with %q; found: %q", tc.code, tc.text, texts(faults))
	}
	f := faults[i]
	at := nowhere
	if f.Block != nil {
		at = *f.Block
	}
	if f.Severity != tc.severity || at != where {
		t.Errorf("%v, block %d; want %v, block %d: %s", f.Severity, at, tc.severity, where, &f)
	}
	if diff := cmp.Diff(tc.devices, f.Devices); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	for _, id := range f.Devices {
		if !strings.Contains(f.String(), fmt.Sprint(id)) {
			t.Errorf("device %d is not named: %s", id, &f)
		}
	}
	place := "superblock"
	if where != 0 {
		place = fmt.Sprintf("block %d", where)
	}
	if where != nowhere && !strings.Contains(f.String(), place) {
		t.Errorf("%s is not named: %s", place, &f)
	}
	want := append(slices.Clone(tc.also), tc.code)
	slices.Sort(want)
	var got []check.Code
	for _, f := range faults {
		got = append(got, f.Code)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("codes (-want +got):\n%s\n%q", diff, texts(faults))
	}
}

var brokenBlocks = []spoiled{
	{"I1 device too small", func(l *lab) block.Nr { l.Mem = blocktest.NewMemFrom(l.Contents()[:1000*block.Size]); return 0 }, check.DeviceTooSmall, check.Fatal, nil, "covers 2048 blocks, but the device has only 1000", nil},
	{"I1 ragged end", func(l *lab) block.Nr { l.Mem = blocktest.NewMemFrom(append(l.Contents(), 1, 2, 3)); return 0 }, check.RaggedEnd, check.Note, nil, "not a multiple", nil},
	{"I2 leaf", func(l *lab) block.Nr { return l.scratch(l.leaf(0, 1)) }, check.NodeDamaged, check.Fatal, ids(6), "lost keys 12326..24649: block 237: bad checksum", also(check.MappedBlocksWrong)},
	{"I2 root", func(l *lab) block.Nr { return l.scratch(l.root(1)) }, check.NodeDamaged, check.Fatal, ids(7), "lost keys from 0 on", also(check.MappedBlocksWrong)},
	{"I2 top level", func(l *lab) block.Nr { return l.scratch(l.sb.MappingRoot) }, check.NodeDamaged, check.Fatal, nil, "mapping tree, top level", also(check.DeviceMismatch)},
	{"I2 details", func(l *lab) block.Nr { return l.scratch(l.sb.DetailsRoot) }, check.NodeDamaged, check.Fatal, nil, "device details", also(check.DeviceMismatch)},
	{"I2 bitmap", func(l *lab) block.Nr { return l.scratch(l.bitmap(true)) }, check.SpaceMapDamaged, check.Fatal, nil, "data space map", nil},
	{"I2 overflow tree", func(l *lab) block.Nr { return l.scratch(l.sb.DataSpaceMap.RefCountRoot) }, check.NodeDamaged, check.Fatal, nil, "overflow tree", nil},
	{"I2 index tree", func(l *lab) block.Nr { return l.scratch(l.sb.DataSpaceMap.BitmapRoot) }, check.NodeDamaged, check.Fatal, nil, "index tree", also(check.SpaceMapDamaged)},
	{"I2 other kind", func(l *lab) block.Nr { return l.copyBlock(l.bitmap(true), l.leaf(0, 1)) }, check.NodeDamaged, check.Fatal, ids(6), "holds a bitmap", also(check.MappedBlocksWrong)},
	{"I2 zeroed", func(l *lab) block.Nr { return l.zero(l.leaf(0, 1)) }, check.NodeDamaged, check.Fatal, ids(6), "all zero", also(check.MappedBlocksWrong)},
	{"I2 superblock", func(l *lab) block.Nr { return l.scratch(0) }, check.SuperblockDamaged, check.Fatal, nil, "bad checksum in superblock: stored 0x", nil},
	{"I2 superblock, all else valid", func(l *lab) block.Nr { return l.scratch(0) }, check.SuperblockDamaged, check.Fatal, nil, "; 252 valid metadata blocks follow", nil},
	{"I3 leaf", func(l *lab) block.Nr { return l.put64(l.leaf(0, 1), nodeBlocknr, 3) }, check.NodeDamaged, check.Fatal, ids(6), "blocknr is 3, want 237; it holds block 3, with a valid checksum", also(check.MappedBlocksWrong)},
	{"I3 bitmap", func(l *lab) block.Nr { return l.put64(l.bitmap(false), nodeBlocknr, 3) }, check.SpaceMapDamaged, check.Fatal, nil, "blocknr is 3", nil},
	{"I3 exchanged", func(l *lab) block.Nr { return l.exchange(l.leaf(0, 1), l.leaf(1, 1)) }, check.NodeDamaged, check.Fatal, ids(6), "with a valid checksum; block 234 holds the content of block 237", also(check.MappedBlocksWrong)},
	{"I3 moved", func(l *lab) block.Nr { l.copyBlock(l.leaf(0, 1), 1999); return l.zero(l.leaf(0, 1)) }, check.NodeDamaged, check.Fatal, ids(6), "all zero, want a btree node; block 1999 holds the content of block 237", also(check.MappedBlocksWrong)},
	{"I3 bitmap moved", func(l *lab) block.Nr { l.copyBlock(l.bitmap(true), 1999); return l.scratch(l.bitmap(true)) }, check.SpaceMapDamaged, check.Fatal, nil, "block 1999 holds the content of block", nil},
	{"I3 superblock", func(l *lab) block.Nr { return l.put64(0, nodeBlocknr, 3) }, check.SuperblockDamaged, check.Fatal, nil, "blocknr is 3", nil},
	{"I4 magic", func(l *lab) block.Nr { return l.put64(0, magic, 1) }, check.SuperblockDamaged, check.Fatal, nil, "magic is 1", nil},
	{"I5 version", func(l *lab) block.Nr { return l.put32(0, version, 3) }, check.VersionUnknown, check.NonFatal, nil, "version is 3", nil},
	{"I6 incompatible", func(l *lab) block.Nr { return l.put32(0, incompat, 1) }, check.FeaturesUnknown, check.Fatal, nil, "0x1", nil},
	{"I6 read-only", func(l *lab) block.Nr { return l.put32(0, compatRO, 1) }, check.FeaturesUnknown, check.Fatal, nil, "must not be written to", nil},
	{"I6 compatible", func(l *lab) block.Nr { return l.put32(0, compat, 1) }, check.FeaturesUnknown, check.Note, nil, "compatible", nil},
	{"I7 data block size", func(l *lab) block.Nr { return l.put32(0, dataBlockSize, 100) }, check.BlockSizeInvalid, check.Fatal, nil, "100 sectors", nil},
	{"I8 metadata block size", func(l *lab) block.Nr { return l.put32(0, metadataBlockSize, 16) }, check.MetaBlockSizeOdd, check.NonFatal, nil, "16 sectors", nil},
	{"I9 needs_check", func(l *lab) block.Nr { return l.put32(0, flags, 1) }, check.NeedsCheckSet, check.Note, nil, "needs_check", nil},
	{"I9 unknown flag", func(l *lab) block.Nr { return l.put32(0, flags, 4) }, check.FlagsUnknown, check.Note, nil, "0x4", nil},
	{"I10 size", func(l *lab) block.Nr { return l.put64(0, nrBlocks, 9999) }, check.SizeOdd, check.Note, nil, "9999", nil},
	{"I10 tail", func(l *lab) block.Nr { return l.put64(0, 400, 1) }, check.TailNotZero, check.Note, nil, "0x190", nil},
	{"I44 never formatted", func(l *lab) block.Nr { l.Mem = blocktest.NewMem(1 << 20); return nowhere }, check.Unformatted, check.Fatal, nil, "never formatted", nil},
	{"I44 wiped", func(l *lab) block.Nr { return l.zero(0) }, check.SuperblockDamaged, check.Fatal, nil, "block 0 was wiped; 252 valid metadata blocks follow in the first 64 MiB", nil},
}

var brokenTrees = []spoiled{
	{"I11 child beyond", func(l *lab) block.Nr { return l.put64(l.root(0), mappingValues+8, 99999) }, check.NodeDamaged, check.Fatal, ids(6), "block 236, entry 1: points to block 99999, want 1..2047", also(check.MappedBlocksWrong)},
	{"I11 child 0", func(l *lab) block.Nr { return l.put64(l.root(0), mappingValues, 0) }, check.NodeDamaged, check.Fatal, ids(6), "points to block 0", also(check.MappedBlocksWrong)},
	{"I11 first beyond", func(l *lab) block.Nr { return l.put64(l.root(0), mappingValues+8*12, 2048) }, check.NodeDamaged, check.Fatal, ids(6), "points to block 2048", also(check.MappedBlocksWrong)},
	{"I11 device's root", func(l *lab) block.Nr { l.put64(l.sb.MappingRoot, mappingValues, 99999); return 99999 }, check.NodeDamaged, check.Fatal, ids(6), "block 99999", also(check.MappedBlocksWrong)},
	{"I11 mapping root", func(l *lab) block.Nr { l.put64(0, mappingRoot, 99999); return 99999 }, check.NodeDamaged, check.Fatal, nil, "block 99999", also(check.DeviceMismatch)},
	{"I11 details root", func(l *lab) block.Nr { l.put64(0, detailsRoot, 1<<63); return 1 << 63 }, check.NodeDamaged, check.Fatal, nil, "block 9223372036854775808", also(check.DeviceMismatch)},
	{"I11 index root", func(l *lab) block.Nr { l.put64(0, metadataMap+16, 99999); return 99999 }, check.SpaceMapDamaged, check.Fatal, nil, "block 99999", nil},
	{"I11 overflow root", func(l *lab) block.Nr { l.put64(0, metadataMap+24, 99999); return 99999 }, check.NodeDamaged, check.Fatal, nil, "block 99999", nil},
	{"I11 data bitmap", func(l *lab) block.Nr { return l.put64(l.sb.DataSpaceMap.BitmapRoot, indexValues+16, 99999) }, check.SpaceMapDamaged, check.Fatal, nil, "entry 1: points to block 99999", nil},
	{"I11 data bitmap 0", func(l *lab) block.Nr { return l.put64(l.sb.DataSpaceMap.BitmapRoot, indexValues+16, 0) }, check.SpaceMapDamaged, check.Fatal, nil, "entry 1: points to block 0", nil},
	{"I11 metadata bitmap 0", func(l *lab) block.Nr { return l.put64(l.sb.MetadataSpaceMap.BitmapRoot, indexBlock, 0) }, check.SpaceMapDamaged, check.Fatal, nil, "entry 0: points to block 0", nil},
	{"I12 neither kind", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeFlags, 0) }, check.NodeDamaged, check.Fatal, ids(6), "flags is 0", also(check.MappedBlocksWrong)},
	{"I12 both kinds", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeFlags, 3) }, check.NodeDamaged, check.Fatal, ids(6), "flags is 3", also(check.MappedBlocksWrong)},
	{"I12 other bits", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeFlags, 2|8) }, check.NodeHeaderOdd, check.Note, ids(6), "0x8", nil},
	{"I12 padding", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodePadding, 5) }, check.NodeHeaderOdd, check.Note, ids(6), "padding", nil},
	{"I12 padding of an internal node", func(l *lab) block.Nr { return l.put32(l.root(0), nodePadding, 5) }, check.NodeHeaderOdd, check.Note, ids(6), "padding", nil},
	{"I12 padding in a space map", func(l *lab) block.Nr { return l.put32(l.sb.DataSpaceMap.BitmapRoot, nodePadding, 5) }, check.NodeHeaderOdd, check.Note, nil, "padding", nil},
	{"I13 leaf", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeValueSize, 4) }, check.NodeDamaged, check.Fatal, ids(6), "value_size is 4, want 8", also(check.MappedBlocksWrong)},
	{"I13 internal node", func(l *lab) block.Nr { return l.put32(l.root(0), nodeValueSize, 24) }, check.NodeDamaged, check.Fatal, ids(6), "value_size is 24, want 8", also(check.MappedBlocksWrong)},
	{"I13 details", func(l *lab) block.Nr { return l.put32(l.sb.DetailsRoot, nodeValueSize, 8) }, check.NodeDamaged, check.Fatal, nil, "value_size is 8, want 24", also(check.DeviceMismatch)},
	{"I14 too big", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeMax, 255) }, check.NodeDamaged, check.Fatal, ids(6), "max_entries is 255, want at most 254", also(check.MappedBlocksWrong)},
	{"I14 odd details", func(l *lab) block.Nr { return l.capacity(l.sb.DetailsRoot, 24, 125) }, check.NodeCapacityOdd, check.NonFatal, nil, "125", nil},
	{"I14 odd leaf", func(l *lab) block.Nr { return l.capacity(l.leaf(0, 1), 8, 249) }, check.NodeCapacityOdd, check.NonFatal, ids(6), "249", nil},
	{"I14 odd index", func(l *lab) block.Nr { return l.capacity(l.sb.DataSpaceMap.BitmapRoot, 16, 165) }, check.NodeCapacityOdd, check.NonFatal, nil, "165", nil},
	{"I15 too many", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeEntries, 253) }, check.NodeDamaged, check.Fatal, ids(6), "nr_entries is 253", also(check.MappedBlocksWrong)},
	{"I15 none", func(l *lab) block.Nr { return l.put32(l.root(0), nodeEntries, 0) }, check.NodeDamaged, check.Fatal, ids(6), "nr_entries", also(check.MappedBlocksWrong)},
	{"I16 descending", func(l *lab) block.Nr { return l.put64(l.leaf(0, 1), nodeKeys+8, 0) }, check.NodeDamaged, check.Fatal, ids(6), "not above", also(check.MappedBlocksWrong)},
	{"I16 equal", func(l *lab) block.Nr { return l.put64(l.leaf(0, 1), nodeKeys+8, 12326) }, check.NodeDamaged, check.Fatal, ids(6), "not above 12326", also(check.MappedBlocksWrong)},
	{"I17 below", func(l *lab) block.Nr { return l.put64(l.leaf(0, 1), nodeKeys, 1) }, check.KeysOutOfBounds, check.Fatal, ids(6), "its parent, block 236, gives it keys 12326..24649", nil},
	{"I17 above", func(l *lab) block.Nr { l.separator(l.root(0), 2, -1000&(1<<64-1)); return l.leaf(0, 1) }, check.KeysOutOfBounds, check.Fatal, ids(6), "gives it keys 12326..23649", nil},
	{"I17 separator too high", func(l *lab) block.Nr { return l.separator(l.root(0), 0, 1) }, check.KeysOutOfBounds, check.Fatal, ids(6), "gives it keys 28..12325", nil},
	{"I18 depth", func(l *lab) block.Nr { return l.put64(l.root(0), mappingValues+8, uint64(l.root(1))) }, check.DepthUneven, check.NonFatal, ids(6), "depths", also(check.KeysOutOfBounds, check.MappedBlocksWrong, check.NodeUnderfull, check.MetadataCountLow)},
	{"I19 underfull", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeEntries, 82) }, check.NodeUnderfull, check.NonFatal, ids(6), "82 entries of 252, want at least 84", also(check.MappedBlocksWrong, check.DataCountHigh)},
	{"I19 one short", func(l *lab) block.Nr { return l.put32(l.leaf(0, 1), nodeEntries, 83) }, check.NodeUnderfull, check.Note, ids(6), "83 entries", also(check.MappedBlocksWrong, check.DataCountHigh)},
	{"I20 loop", func(l *lab) block.Nr { return l.put64(l.root(0), mappingValues+8, uint64(l.root(0))) }, check.NodeDamaged, check.Fatal, ids(6), "back to itself", also(check.MappedBlocksWrong, check.NodeUnderfull, check.MetadataCountLow)},
	{"I21 tree in a tree", func(l *lab) block.Nr {
		l.put64(l.sb.MappingRoot, mappingValues, uint64(l.sb.MappingRoot))
		return l.sb.MappingRoot
	}, check.TwoRoles, check.Fatal, nil, "used for the top level of the mapping tree and for mappings", also(check.MappedTwice, check.DataCountHigh, check.DataCountLow, check.MappedBlocksWrong, check.MetadataLeak, check.MetadataCountLow, check.SharedWritable, check.TimeTooHigh)},
	{"I21 one overflow tree", func(l *lab) block.Nr {
		l.put64(0, dataMap+24, uint64(l.sb.MetadataSpaceMap.RefCountRoot))
		return l.sb.MetadataSpaceMap.RefCountRoot
	}, check.TwoRoles, check.Fatal, nil, "the data overflow tree and for the metadata overflow tree", also(check.MetadataCountLow, check.MetadataLeak)},
	{"I21 one bitmap", func(l *lab) block.Nr {
		l.put64(l.sb.MetadataSpaceMap.BitmapRoot, indexBlock, uint64(l.bitmap(true)))
		return l.bitmap(true)
	}, check.TwoRoles, check.Fatal, nil, "a bitmap of the data space map and for a bitmap of the metadata space map", also(check.MetadataLeak, check.MetadataCountHigh, check.MetadataCountLow, check.SpaceMapCounters, check.SpaceMapOdd)},
}

var brokenDevices = []spoiled{
	{"I22 device id", func(l *lab) block.Nr { return scattered(l.rename(3, 1<<24)) }, check.DeviceIDTooHigh, check.NonFatal, ids(1 << 24), "16777215", nil},
	{"I23 no details", func(l *lab) block.Nr { return scattered(l.put64(l.sb.MappingRoot, nodeKeys, 5)) }, check.DeviceMismatch, check.Fatal, ids(5), "device 5: has mappings but no details", nil},
	{"I23 no mappings", func(l *lab) block.Nr { return scattered(l.put64(l.sb.DetailsRoot, nodeKeys, 5)) }, check.DeviceMismatch, check.Fatal, ids(5), "device 5: has details but no mappings", nil},
	{"I24 mapped_blocks", func(l *lab) block.Nr { return scattered(l.put64(l.sb.DetailsRoot, detailsValues, 1)) }, check.MappedBlocksWrong, check.Fatal, ids(6), "mapped_blocks is 1", nil},
	{"I25 beyond", func(l *lab) block.Nr { return l.put64(l.leaf(0, 1), mappingValues, 1638400<<24) }, check.MappingBeyond, check.Fatal, ids(6), "data 1638400", also(check.DataCountHigh)},
	{"I26 mapping time", func(l *lab) block.Nr { return l.addTime(l.leaf(0, 1), 9) }, check.TimeTooHigh, check.NonFatal, ids(6), "newer", also(check.SharedWritable)},
	{"I26 time width", func(l *lab) block.Nr { return l.put32(0, poolTime, 1<<24) }, check.TimeTooHigh, check.NonFatal, nil, "16777216", nil},
	{"I27 creation", func(l *lab) block.Nr { return scattered(l.put32(l.sb.DetailsRoot, detailsValues+16, 99)) }, check.TimeTooHigh, check.NonFatal, ids(6), "creation_time is 99", nil},
	{"I27 snapshotted", func(l *lab) block.Nr { return scattered(l.put32(l.sb.DetailsRoot, detailsValues+24+20, 99)) }, check.TimeTooHigh, check.NonFatal, ids(7), "snapshotted_time 99", nil},
	{"I27 transaction", func(l *lab) block.Nr { return scattered(l.put64(l.sb.DetailsRoot, detailsValues+8, 99)) }, check.TransactionTooHigh, check.Note, ids(6), "transaction 99", nil},
	{"I28 writable", func(l *lab) block.Nr { l.put32(l.sb.DetailsRoot, detailsValues+20, 0); return l.leaf(0, 1) }, check.SharedWritable, check.Note, ids(6), "in place", nil},
	{"I29 twice", func(l *lab) block.Nr { return l.repeat(l.leaf(0, 1)) }, check.MappedTwice, check.NonFatal, ids(6), "thin blocks", also(check.DataCountHigh, check.DataCountLow)},
}

var brokenSpaceMaps = []spoiled{
	{"I30 nr_blocks 0", func(l *lab) block.Nr { return l.put64(0, metadataMap, 0) }, check.SuperblockDamaged, check.Fatal, nil, "nr_blocks is 0", nil},
	{"I30 nr_blocks", func(l *lab) block.Nr { return l.put64(0, metadataMap, spacemap.MaxMetadata+1) }, check.SuperblockDamaged, check.Fatal, nil, "4161601", nil},
	{"I30 data nr_blocks", func(l *lab) block.Nr { return scattered(l.put64(0, dataMap, 1<<60)) }, check.SpaceMapDamaged, check.Fatal, nil, "more than the metadata device has bitmaps for", nil},
	{"I30 data tail", func(l *lab) block.Nr { return l.put64(0, dataMap+32, 1) }, check.TailNotZero, check.Note, nil, "0x60", nil},
	{"I30 metadata tail", func(l *lab) block.Nr { return l.put64(0, metadataMap+120, 1<<56) }, check.TailNotZero, check.Note, nil, "0x13f", nil},
	{"I30 index block", func(l *lab) block.Nr { return l.scratch(l.sb.MetadataSpaceMap.BitmapRoot) }, check.SpaceMapDamaged, check.Fatal, nil, "bad checksum in index", nil},
	{"I31 missing", func(l *lab) block.Nr { return scattered(l.put32(l.sb.DataSpaceMap.BitmapRoot, nodeEntries, 100)) }, check.SpaceMapDamaged, check.Fatal, nil, "no index entry 100", nil},
	{"I31 some missing", func(l *lab) block.Nr { return scattered(l.put32(l.sb.DataSpaceMap.BitmapRoot, nodeEntries, 60)) }, check.SpaceMapDamaged, check.Fatal, nil, "no index entries 60..100", nil},
	{"I31 surplus", func(l *lab) block.Nr { return scattered(l.put64(0, dataMap, 100*16320)) }, check.SpaceMapOdd, check.NonFatal, nil, "index has 100 entries, want 100", also(check.MetadataLeak)},
	{"I32 unused entries", func(l *lab) block.Nr { return l.put64(l.sb.MetadataSpaceMap.BitmapRoot, indexBlock+16*7, 5) }, check.TailNotZero, check.Note, nil, "index entries", nil},
	{"I33 bitmap twice", func(l *lab) block.Nr {
		l.put64(l.sb.DataSpaceMap.BitmapRoot, indexValues+16, uint64(l.bitmap(true)))
		return l.bitmap(true)
	}, check.TwoRoles, check.Fatal, nil, "a bitmap of the data space map and for a bitmap", also(check.DataLeak, check.DataCountHigh, check.MetadataLeak, check.MetadataCountLow, check.SpaceMapCounters)},
	{"I34 no overflow", func(l *lab) block.Nr { return l.count(true, 16000, 3) }, check.SpaceMapDamaged, check.Fatal, nil, "overflow tree has none", also(check.SpaceMapCounters)},
	{"I34 no metadata overflow", func(l *lab) block.Nr { return l.count(false, 2000, 3) }, check.SpaceMapDamaged, check.Fatal, nil, "overflow tree has none", also(check.SpaceMapCounters)},
	{"I34 stray", func(l *lab) block.Nr { l.overflow(l.sb.DataSpaceMap.RefCountRoot, 16000, 3); return l.bitmap(true) }, check.SpaceMapOdd, check.NonFatal, nil, "count of block 16000 is 0, but the overflow tree has 3", nil},
	{"I34 low", func(l *lab) block.Nr {
		l.count(true, 16000, 3)
		return l.overflow(l.sb.DataSpaceMap.RefCountRoot, 16000, 2)
	}, check.SpaceMapDamaged, check.Fatal, nil, "count of 2", also(check.DataCountHigh, check.SpaceMapCounters)},
	{"I34 stray in metadata", func(l *lab) block.Nr { l.overflow(l.sb.MetadataSpaceMap.RefCountRoot, 2000, 7); return l.bitmap(false) }, check.SpaceMapOdd, check.NonFatal, nil, "the overflow tree has 7", nil},
	{"I35 overflow beyond", func(l *lab) block.Nr { return l.overflow(l.sb.DataSpaceMap.RefCountRoot, 1638400, 3) }, check.SpaceMapOdd, check.NonFatal, nil, "block 1638400, beyond the end", nil},
	{"I36 count beyond", func(l *lab) block.Nr { return l.count(false, 2048, 1) }, check.SpaceMapOdd, check.NonFatal, nil, "block 2048, beyond the end", nil},
	{"I37 nr_free", func(l *lab) block.Nr { return l.wrongEntry(true, 8, 5) }, check.SpaceMapCounters, check.Note, nil, "nr_free is 5", nil},
	{"I37 metadata nr_free", func(l *lab) block.Nr { return l.wrongEntry(false, 8, 5) }, check.SpaceMapCounters, check.Note, nil, "nr_free is 5", nil},
	{"I38 none_free_before", func(l *lab) block.Nr { return l.wrongEntry(true, 12, 16320) }, check.SpaceMapCounters, check.Note, nil, "none_free_before is 16320", nil},
	{"I38 metadata none_free_before", func(l *lab) block.Nr { return l.wrongEntry(false, 12, 1<<31) }, check.SpaceMapCounters, check.Note, nil, "none_free_before is 2147483648", nil},
	{"I39 data nr_allocated", func(l *lab) block.Nr { return scattered(l.put64(0, dataMap+8, 5)) }, check.SpaceMapCounters, check.Note, nil, "data space map: nr_allocated is 5", nil},
	{"I39 metadata nr_allocated", func(l *lab) block.Nr { return scattered(l.put64(0, metadataMap+8, 5)) }, check.SpaceMapCounters, check.Note, nil, "metadata space map: nr_allocated is 5", nil},
	{"I40 low", func(l *lab) block.Nr { return scattered(l.count(false, int(l.leaf(0, 1)), 0)) }, check.MetadataCountLow, check.Fatal, nil, "metadata block 237: count is 0", also(check.SpaceMapCounters)},
	{"I40 leak", func(l *lab) block.Nr { return scattered(l.count(false, 2000, 1)) }, check.MetadataLeak, check.NonFatal, nil, "metadata block 2000", also(check.SpaceMapCounters)},
	{"I40 high", func(l *lab) block.Nr { return scattered(l.count(false, int(l.leaf(0, 1)), 2)) }, check.MetadataCountHigh, check.NonFatal, nil, "count is 2, but 1 references", nil},
	{"I41 low", func(l *lab) block.Nr { return scattered(l.count(true, l.mapped(), 0)) }, check.DataCountLow, check.Fatal, nil, "count is 0", also(check.SpaceMapCounters)},
	{"I41 leak", func(l *lab) block.Nr { return scattered(l.count(true, 16000, 1)) }, check.DataLeak, check.Note, nil, "data block 16000", also(check.SpaceMapCounters)},
	{"I41 high", func(l *lab) block.Nr { return scattered(l.count(true, 16000, 2)) }, check.DataCountHigh, check.NonFatal, nil, "count is 2", also(check.SpaceMapCounters)},
	{"I42 too high", func(l *lab) block.Nr { return scattered(l.count(false, 0, 2)) }, check.MetadataCountHigh, check.NonFatal, nil, "metadata block 0", nil},
	{"I42 too low", func(l *lab) block.Nr { return scattered(l.count(false, 0, 0)) }, check.MetadataCountLow, check.Fatal, nil, "metadata block 0", also(check.SpaceMapCounters)},
	{"I43 not a block", func(l *lab) block.Nr { l.put64(0, heldRoot, 99999); return 99999 }, check.SnapshotDamaged, check.Fatal, nil, "block 99999", nil},
	{"I43 not a superblock", func(l *lab) block.Nr { l.put64(0, heldRoot, 1999); return 1999 }, check.SnapshotDamaged, check.Fatal, nil, "block 1999", also(check.MetadataCountLow)},
}

// wrongEntry changes the first index entry of a space map and returns its bitmap.
func (l *lab) wrongEntry(data bool, at int, v uint32) block.Nr {
	nr := l.bitmap(data)
	if data {
		l.put32(l.sb.DataSpaceMap.BitmapRoot, indexValues+at, v)
	} else {
		l.put32(l.sb.MetadataSpaceMap.BitmapRoot, indexBlock+at, v)
	}
	return nr
}

// held returns the superblock of the metadata snapshot.
func (l *lab) held() metadata.Superblock {
	sb, err := metadata.DecodeSuperblock(l.sb.HeldRoot, l.read(l.sb.HeldRoot))
	if err != nil {
		l.TB.Fatal(err)
	}
	return sb
}

// The image holds a metadata snapshot of its devices 1 and 2.
var brokenSnapshots = []spoiled{
	{"I43 damaged", func(l *lab) block.Nr { return l.scratch(l.sb.HeldRoot) }, check.SnapshotDamaged, check.Fatal, nil, "bad checksum", nil},
	{"I43 self reference", func(l *lab) block.Nr { return l.put64(l.sb.HeldRoot, nodeBlocknr, 0) }, check.SnapshotDamaged, check.Fatal, nil, "blocknr is 0, want 143", nil},
	{"I43 a snapshot of its own", func(l *lab) block.Nr { return l.put64(l.sb.HeldRoot, heldRoot, 143) }, check.SnapshotOdd, check.NonFatal, nil, "block 143", nil},
	{"I43 a space map", func(l *lab) block.Nr { return l.put64(l.sb.HeldRoot, dataMap+16, 5) }, check.SnapshotOdd, check.NonFatal, nil, "space maps", nil},
	{"I43 features", func(l *lab) block.Nr { return l.put32(l.sb.HeldRoot, incompat, 2) }, check.FeaturesUnknown, check.Fatal, nil, "0x2", nil},
	{"I43 tail", func(l *lab) block.Nr { return l.put32(l.sb.HeldRoot, 4092, 2) }, check.TailNotZero, check.Note, nil, "unused", nil},
	{"I11 mapping root", func(l *lab) block.Nr { l.put64(l.sb.HeldRoot, mappingRoot, 99999); return 99999 }, check.NodeDamaged, check.Fatal, nil, "metadata snapshot, mapping tree", also(check.DeviceMismatch)},
	{"I21 the live tree", func(l *lab) block.Nr {
		l.put64(l.sb.HeldRoot, mappingRoot, uint64(l.sb.DetailsRoot))
		return l.sb.DetailsRoot
	}, check.NodeDamaged, check.Fatal, nil, "value_size is 24, want 8", also(check.MetadataCountLow, check.DeviceMismatch)},
	{"I24 mapped_blocks", func(l *lab) block.Nr { return scattered(l.put64(l.held().DetailsRoot, detailsValues, 1)) }, check.MappedBlocksWrong, check.Fatal, ids(1), "metadata snapshot, device details", nil},
	{"I27 times", func(l *lab) block.Nr { return scattered(l.put32(l.held().DetailsRoot, detailsValues+16, 99)) }, check.TimeTooHigh, check.NonFatal, ids(1), "metadata snapshot, device details", nil},
}
