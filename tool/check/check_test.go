package check_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
	"thinpool/metadata/spacemap"
	"thinpool/tool/check"
)

var le = binary.LittleEndian

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

type readOnly struct{ block.Device }

func (readOnly) WriteAt([]byte, int64) (int, error) { panic("a check writes") }
func (readOnly) Flush() error                       { panic("a check writes") }

// The check agrees with what others know of the images.
func TestKernelImages(t *testing.T) {
	truths, err := fixtures.Truths()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			truth := truths[name]
			faults, sum := faultsOf(t, fixtures.Mem(t, name), check.Options{})
			if sum.Fatal+sum.NonFatal != 0 {
				t.Errorf("faults: %v", faults)
			}
			var codes []check.Code
			for _, f := range faults {
				codes = append(codes, f.Code)
			}
			var want []check.Code
			if truth.NeedsCheck {
				want = append(want, check.NeedsCheckSet)
			}
			if truth.Verify == 3 { // leaks
				want = append(want, check.DataLeak, check.DataLeak)
			}
			if !slices.Equal(codes, want) {
				t.Errorf("codes %v, want %v", codes, want)
			}
			if sum.Devices != truth.Devices || sum.Mappings != truth.Mappings || sum.MetadataBlocks != truth.MetadataUsed {
				t.Errorf("%d devices, %d mappings, %d blocks; want %d, %d, %d",
					sum.Devices, sum.Mappings, sum.MetadataBlocks, truth.Devices, truth.Mappings, truth.MetadataUsed)
			}
		})
	}
}

// lab is an image to be damaged, and where its parts lie.
type lab struct {
	testing.TB
	*block.Mem
	sb      metadata.Superblock
	pool    *metadata.Pool
	devices []metadata.Device
}

func newLab(t testing.TB, image string) *lab {
	t.Helper()
	l := &lab{TB: t, Mem: fixtures.Mem(t, image)}
	pool, err := metadata.Open(l.Mem, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.pool, l.sb = pool, pool.Superblock
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		l.devices = append(l.devices, d)
	}
	return l
}

func (l *lab) edit(nr block.Nr, change func(b *block.Data)) { fixtures.Edit(l.TB, l.Mem, nr, change) }

func (l *lab) put32(nr block.Nr, at int, v uint32) {
	l.edit(nr, func(b *block.Data) { le.PutUint32(b[at:], v) })
}

func (l *lab) put64(nr block.Nr, at int, v uint64) {
	l.edit(nr, func(b *block.Data) { le.PutUint64(b[at:], v) })
}

// leaf returns leaf i of the mappings of device d.
func (l *lab) leaf(d, i int) block.Nr {
	m, err := l.pool.Mappings(l.TB.Context(), l.devices[d])
	if err != nil {
		l.TB.Fatal(err)
	}
	for part := range m.Forest.Parts(l.devices[d].Root) {
		if i == 0 {
			return part.Block
		}
		i--
	}
	l.TB.Fatal("no such leaf")
	return 0
}

// bitmap returns the bitmap that counts data block 0 or metadata block 0.
func (l *lab) bitmap(data bool) block.Nr {
	var b block.Data
	at := 0
	if data {
		for e, err := range btree.LeafValues(l.TB.Context(), block.NewReader(l.Mem, 1), l.pool.Limit(), l.sb.DataSpaceMap.BitmapRoot, spacemap.EntrySize) {
			if err != nil {
				l.TB.Fatal(err)
			}
			return spacemap.DecodeEntry(e.Value).Block
		}
	}
	if err := block.Read(l.Mem, l.sb.MetadataSpaceMap.BitmapRoot, &b); err != nil {
		l.TB.Fatal(err)
	}
	return spacemap.DecodeEntry(spacemap.IndexEntries(&b)[at:]).Block
}

// setCount stores a count of a data block or metadata block below 16320.
func (l *lab) setCount(data bool, nr int, count uint32) {
	at := l.bitmap(data)
	l.edit(at, func(b *block.Data) {
		pair := byte(count&1<<1 | count>>1)
		b[16+nr/4] = b[16+nr/4]&^(3<<(2*(nr%4))) | pair<<(2*(nr%4))
	})
}

// Offsets that the tests spoil, from the kernel's structures.
const (
	nodeFlags, nodeBlocknr, nodeEntries, nodeMax, nodeValueSize, nodePadding, nodeKeys = 4, 8, 16, 20, 24, 28, 32

	mappingValues = nodeKeys + 8*252
	detailsValues = nodeKeys + 8*126
	indexValues   = nodeKeys + 8*168
)

// Each invariant of the format, broken alone.
func TestInvariants(t *testing.T) {
	const image = "deleted-discarded" // four devices: 6, 7, 8, 16777215
	for name, tc := range map[string]struct {
		spoil    func(l *lab)
		code     check.Code
		severity check.Severity
		text     string // that the fault must hold
	}{
		"I1 device too small":    {func(l *lab) { l.Mem = block.NewMemFrom(l.Contents()[:1000*block.Size]) }, check.DeviceTooSmall, check.Fatal, "covers 2048 blocks, but the device has only 1000"},
		"I1 ragged end":          {func(l *lab) { l.Mem = block.NewMemFrom(append(l.Contents(), 1, 2, 3)) }, check.RaggedEnd, check.Note, "no multiple"},
		"I2 checksum":            {func(l *lab) { l.WriteAt([]byte{1}, int64(l.leaf(0, 1))*block.Size+100) }, check.NodeDamaged, check.Fatal, "bad checksum"},
		"I2 other kind":          {func(l *lab) { copyBlock(l, l.bitmap(true), l.leaf(0, 1)) }, check.NodeDamaged, check.Fatal, "holds a bitmap"},
		"I2 zeroed":              {func(l *lab) { l.WriteAt(make([]byte, block.Size), int64(l.leaf(0, 1))*block.Size) }, check.NodeDamaged, check.Fatal, "all zero"},
		"I3 self reference":      {func(l *lab) { l.put64(l.leaf(0, 1), nodeBlocknr, 3) }, check.NodeDamaged, check.Fatal, "blocknr is 3"},
		"I4 magic":               {func(l *lab) { l.put64(0, 32, 1) }, check.SuperblockDamaged, check.Fatal, "magic is 1"},
		"I5 version":             {func(l *lab) { l.put32(0, 40, 3) }, check.VersionUnknown, check.NonFatal, "version is 3"},
		"I6 incompatible":        {func(l *lab) { l.put32(0, 360, 1) }, check.FeaturesUnknown, check.Fatal, "0x1"},
		"I6 read-only":           {func(l *lab) { l.put32(0, 356, 1) }, check.FeaturesUnknown, check.Fatal, "write"},
		"I6 compatible":          {func(l *lab) { l.put32(0, 352, 1) }, check.FeaturesUnknown, check.Note, "compatible"},
		"I7 data block size":     {func(l *lab) { l.put32(0, 336, 100) }, check.BlockSizeInvalid, check.Fatal, "100 sectors"},
		"I8 metadata blocks":     {func(l *lab) { l.put32(0, 340, 16) }, check.MetaBlockSizeOdd, check.NonFatal, "16 sectors"},
		"I9 needs_check":         {func(l *lab) { l.put32(0, 4, 1) }, check.NeedsCheckSet, check.Note, "needs_check"},
		"I9 unknown flag":        {func(l *lab) { l.put32(0, 4, 4) }, check.FlagsUnknown, check.Note, "0x4"},
		"I10 size":               {func(l *lab) { l.put64(0, 344, 9999) }, check.SizeOdd, check.Note, "9999"},
		"I10 tail":               {func(l *lab) { l.put64(0, 400, 1) }, check.TailNotZero, check.Note, "0x190"},
		"I11 child":              {func(l *lab) { l.put64(l.devices[0].Root, mappingValues+8, 99999) }, check.NodeDamaged, check.Fatal, "points to block 99999"},
		"I11 root":               {func(l *lab) { l.put64(l.sb.MappingRoot, mappingValues, 99999) }, check.NodeDamaged, check.Fatal, "block 99999"},
		"I12 neither kind":       {func(l *lab) { l.put32(l.leaf(0, 1), nodeFlags, 0) }, check.NodeDamaged, check.Fatal, "flags is 0"},
		"I12 both kinds":         {func(l *lab) { l.put32(l.leaf(0, 1), nodeFlags, 3) }, check.NodeDamaged, check.Fatal, "flags is 3"},
		"I12 other bits":         {func(l *lab) { l.put32(l.leaf(0, 1), nodeFlags, 2|8) }, check.NodeHeaderOdd, check.Note, "0x8"},
		"I12 padding":            {func(l *lab) { l.put32(l.leaf(0, 1), nodePadding, 5) }, check.NodeHeaderOdd, check.Note, "padding"},
		"I13 value size":         {func(l *lab) { l.put32(l.leaf(0, 1), nodeValueSize, 4) }, check.NodeDamaged, check.Fatal, "value_size is 4, want 8"},
		"I14 too big":            {func(l *lab) { l.put32(l.leaf(0, 1), nodeMax, 255) }, check.NodeDamaged, check.Fatal, "max_entries is 255"},
		"I14 odd":                {func(l *lab) { l.emptyDetails(125) }, check.NodeCapacityOdd, check.NonFatal, "125"},
		"I15 too many":           {func(l *lab) { l.put32(l.leaf(0, 1), nodeEntries, 253) }, check.NodeDamaged, check.Fatal, "nr_entries is 253"},
		"I15 none":               {func(l *lab) { l.put32(l.devices[0].Root, nodeEntries, 0) }, check.NodeDamaged, check.Fatal, "nr_entries"},
		"I16 order":              {func(l *lab) { l.put64(l.leaf(0, 1), nodeKeys+8, 0) }, check.NodeDamaged, check.Fatal, "not above"},
		"I17 below":              {func(l *lab) { l.put64(l.leaf(0, 1), nodeKeys, 1) }, check.KeysOutOfBounds, check.Fatal, "leaves it"},
		"I18 depth":              {func(l *lab) { l.put64(l.devices[0].Root, mappingValues+8, uint64(l.devices[1].Root)) }, check.DepthUneven, check.NonFatal, "depths"},
		"I19 underfull":          {func(l *lab) { l.put32(l.leaf(0, 1), nodeEntries, 82) }, check.NodeUnderfull, check.NonFatal, "82 entries of 252, want at least 84"},
		"I19 one short":          {func(l *lab) { l.put32(l.leaf(0, 1), nodeEntries, 83) }, check.NodeUnderfull, check.Note, "83 entries"},
		"I20 loop":               {func(l *lab) { l.put64(l.devices[0].Root, mappingValues+8, uint64(l.devices[0].Root)) }, check.NodeDamaged, check.Fatal, "back to itself"},
		"I21 two roles":          {func(l *lab) { l.put64(l.sb.MappingRoot, mappingValues, uint64(l.sb.MappingRoot)) }, check.TwoRoles, check.Fatal, "and for mappings"},
		"I22 device id":          {func(l *lab) { l.rename(3, 1<<24) }, check.DeviceIDTooHigh, check.NonFatal, "16777215"},
		"I23 no details":         {func(l *lab) { l.put64(l.sb.DetailsRoot, nodeKeys, 5) }, check.DeviceMismatch, check.Fatal, "device 5 has details but no mappings"},
		"I23 no mappings":        {func(l *lab) { l.put64(l.sb.MappingRoot, nodeKeys, 5) }, check.DeviceMismatch, check.Fatal, "device 6 has details but no mappings"},
		"I24 mapped_blocks":      {func(l *lab) { l.put64(l.sb.DetailsRoot, detailsValues, 1) }, check.MappedBlocksWrong, check.Fatal, "mapped_blocks is 1"},
		"I25 beyond":             {func(l *lab) { l.put64(l.leaf(0, 1), mappingValues, 1638400<<24) }, check.MappingBeyond, check.Fatal, "data 1638400"},
		"I26 mapping time":       {func(l *lab) { l.addTime(l.leaf(0, 1), 9) }, check.TimeTooHigh, check.NonFatal, "newer"},
		"I26 time width":         {func(l *lab) { l.put32(0, 44, 1<<24) }, check.TimeTooHigh, check.NonFatal, "16777216"},
		"I27 times":              {func(l *lab) { l.put32(l.sb.DetailsRoot, detailsValues+16, 99) }, check.TimeTooHigh, check.NonFatal, "creation_time 99"},
		"I27 transaction":        {func(l *lab) { l.put64(l.sb.DetailsRoot, detailsValues+8, 99) }, check.TransactionTooHigh, check.Note, "transaction 99"},
		"I28 writable":           {func(l *lab) { l.put32(l.sb.DetailsRoot, detailsValues+20, 0) }, check.SharedWritable, check.NonFatal, "in place"},
		"I29 twice":              {func(l *lab) { l.repeat(l.leaf(0, 1)) }, check.MappedTwice, check.NonFatal, "thin blocks"},
		"I30 nr_blocks":          {func(l *lab) { l.put64(0, 192, 0) }, check.SuperblockDamaged, check.Fatal, "nr_blocks is 0"},
		"I30 too many":           {func(l *lab) { l.put64(0, 192, spacemap.MaxMetadata+1) }, check.SuperblockDamaged, check.Fatal, "4161601"},
		"I30 tail":               {func(l *lab) { l.put64(0, 64+32, 1) }, check.TailNotZero, check.Note, "0x60"},
		"I30 index unreadable":   {func(l *lab) { l.WriteAt([]byte{1}, int64(l.sb.MetadataSpaceMap.BitmapRoot)*block.Size+50) }, check.SpaceMapDamaged, check.Fatal, "bad checksum in index"},
		"I31 missing":            {func(l *lab) { l.put64(l.sb.DataSpaceMap.BitmapRoot, nodeKeys+8*100, 1000) }, check.SpaceMapDamaged, check.Fatal, "no index entry 100"},
		"I31 surplus":            {func(l *lab) { l.put64(l.sb.DataSpaceMap.BitmapRoot, nodeKeys+8*100, 1000) }, check.SpaceMapOdd, check.NonFatal, "index entry 1000"},
		"I32 unused entries":     {func(l *lab) { l.put64(l.sb.MetadataSpaceMap.BitmapRoot, 16+16*7, 5) }, check.TailNotZero, check.Note, "index entries"},
		"I33 bitmap twice":       {func(l *lab) { l.bitmapTwice() }, check.TwoRoles, check.Fatal, "a bitmap of the data space map and for a bitmap"},
		"I34 no overflow":        {func(l *lab) { l.setCount(true, 16000, 3) }, check.SpaceMapDamaged, check.Fatal, "overflow tree has none"},
		"I34 stray":              {func(l *lab) { l.overflow(16000, 3) }, check.SpaceMapOdd, check.NonFatal, "overflow tree has 3"},
		"I34 low":                {func(l *lab) { l.overflow(16000, 2); l.setCount(true, 16000, 3) }, check.SpaceMapDamaged, check.Fatal, "count of 2"},
		"I35 overflow beyond":    {func(l *lab) { l.overflow(1638400, 3) }, check.SpaceMapOdd, check.NonFatal, "beyond the end"},
		"I36 count beyond":       {func(l *lab) { l.setCount(false, 2048, 1) }, check.SpaceMapOdd, check.NonFatal, "block 2048, beyond the end"},
		"I37 nr_free":            {func(l *lab) { l.put32(l.sb.DataSpaceMap.BitmapRoot, indexValues+8, 5) }, check.SpaceMapCounters, check.Note, "nr_free is 5"},
		"I38 none_free_before":   {func(l *lab) { l.put32(l.sb.DataSpaceMap.BitmapRoot, indexValues+12, 16320) }, check.SpaceMapCounters, check.Note, "none_free_before is 16320"},
		"I39 nr_allocated":       {func(l *lab) { l.put64(0, 64+8, 5) }, check.SpaceMapCounters, check.Note, "nr_allocated is 5"},
		"I40 metadata low":       {func(l *lab) { l.setCount(false, int(l.leaf(0, 1)), 0) }, check.MetadataCountLow, check.Fatal, "count is 0"},
		"I40 metadata leak":      {func(l *lab) { l.setCount(false, 2000, 1) }, check.MetadataLeak, check.NonFatal, "metadata block 2000"},
		"I40 metadata high":      {func(l *lab) { l.setCount(false, 2000, 2) }, check.MetadataCountHigh, check.NonFatal, "count is 2"},
		"I41 data low":           {func(l *lab) { l.setCount(true, l.mapped(), 0) }, check.DataCountLow, check.Fatal, "count is 0"},
		"I41 data leak":          {func(l *lab) { l.setCount(true, 16000, 1) }, check.DataLeak, check.Note, "data block 16000"},
		"I41 data high":          {func(l *lab) { l.setCount(true, 16000, 2) }, check.DataCountHigh, check.NonFatal, "count is 2"},
		"I42 superblock count":   {func(l *lab) { l.setCount(false, 0, 2) }, check.MetadataCountHigh, check.NonFatal, "metadata block 0"},
		"I43 held root":          {func(l *lab) { l.put64(0, 56, 1999) }, check.SnapshotDamaged, check.Fatal, "block 1999"},
		"I44 never formatted":    {func(l *lab) { l.WriteAt(make([]byte, block.Size), 0) }, check.Unformatted, check.Fatal, "never formatted"},
		"superblock overwritten": {func(l *lab) { l.WriteAt([]byte("hello"), 10) }, check.SuperblockDamaged, check.Fatal, "bad checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, image)
			tc.spoil(l)
			faults, _ := faultsOf(t, l.Mem, check.Options{})
			i := slices.IndexFunc(faults, func(f check.Fault) bool {
				return f.Code == tc.code && f.Severity == tc.severity && strings.Contains(f.String(), tc.text)
			})
			if i < 0 {
				t.Fatalf("no %v fault %s with %q; found: %v", tc.severity, tc.code, tc.text, texts(faults))
			}
			if tc.severity < check.Fatal { // a small fault must not look like a large one
				for _, f := range faults {
					if f.Severity == check.Fatal && !strings.HasPrefix(name, "I18") && !strings.HasPrefix(name, "I19") &&
						!strings.HasPrefix(name, "I29") && !strings.HasPrefix(name, "I31") && !strings.HasPrefix(name, "I42") {
						t.Errorf("also: %v", f.String())
					}
				}
			}
		})
	}
}

func texts(faults []check.Fault) []string {
	var s []string
	for _, f := range faults {
		s = append(s, f.String())
	}
	return s
}

func copyBlock(l *lab, from, to block.Nr) {
	var b block.Data
	if err := block.Read(l.Mem, from, &b); err != nil {
		l.TB.Fatal(err)
	}
	if err := block.Write(l.Mem, to, &b); err != nil {
		l.TB.Fatal(err)
	}
}

// emptyDetails changes the capacity of the details' root and moves its values along.
func (l *lab) emptyDetails(capacity int) {
	l.edit(l.sb.DetailsRoot, func(b *block.Data) {
		values := slices.Clone(b[detailsValues : detailsValues+24*10])
		le.PutUint32(b[nodeMax:], uint32(capacity))
		copy(b[nodeKeys+8*capacity:], values)
	})
}

// rename gives device i another id in both trees.
func (l *lab) rename(i int, id uint64) {
	l.put64(l.sb.MappingRoot, nodeKeys+8*i, id)
	l.put64(l.sb.DetailsRoot, nodeKeys+8*i, id)
}

// addTime raises the time of the first mapping in a leaf.
func (l *lab) addTime(leaf block.Nr, by uint64) {
	l.edit(leaf, func(b *block.Data) { le.PutUint64(b[mappingValues:], le.Uint64(b[mappingValues:])+by) })
}

// repeat makes the second mapping of a leaf lead where the first does.
func (l *lab) repeat(leaf block.Nr) {
	l.edit(leaf, func(b *block.Data) { copy(b[mappingValues+8:], b[mappingValues:mappingValues+8]) })
}

// mapped returns a data block below 16320 that is mapped once.
func (l *lab) mapped() int {
	for r, err := range l.pool.Runs(l.TB.Context(), l.devices[0]) {
		if err == nil && r.Data < spacemap.PerBitmap {
			return int(r.Data)
		}
	}
	l.TB.Fatal("no such block")
	return 0
}

// bitmapTwice makes the second index entry name the first bitmap.
func (l *lab) bitmapTwice() {
	l.edit(l.sb.DataSpaceMap.BitmapRoot, func(b *block.Data) { copy(b[indexValues+16:], b[indexValues:indexValues+8]) })
}

// overflow appends an entry to the data overflow tree, which is one leaf.
func (l *lab) overflow(nr uint64, count uint32) {
	const values = nodeKeys + 8*336
	l.edit(l.sb.DataSpaceMap.RefCountRoot, func(b *block.Data) {
		n := int(le.Uint32(b[nodeEntries:]))
		if n > 0 {
			l.TB.Fatalf("the overflow tree has %d entries, want none", n)
		}
		le.PutUint64(b[nodeKeys+8*n:], nr)
		le.PutUint32(b[values+4*n:], count)
		le.PutUint32(b[nodeEntries:], uint32(n+1))
	})
}

// A damaged leaf is named with its block, its range and every device that has it.
func TestDamageNamesDevices(t *testing.T) {
	l := newLab(t, "wide-sharing")
	m, err := l.pool.Mappings(t.Context(), l.devices...)
	if err != nil {
		t.Fatal(err)
	}
	owners := map[block.Nr][]metadata.DevID{}
	for _, d := range l.devices {
		for part := range m.Forest.Parts(d.Root) {
			owners[part.Block] = append(owners[part.Block], d.ID)
		}
	}
	var most block.Nr
	for nr, ids := range owners {
		if len(ids) > len(owners[most]) || len(ids) == len(owners[most]) && nr < most {
			most = nr
		}
	}
	l.FailReads(most)
	faults, sum := faultsOf(t, l.Mem, check.Options{})
	i := slices.IndexFunc(faults, func(f check.Fault) bool { return f.Code == check.NodeDamaged })
	if i < 0 || sum.Fatal < uint64(len(owners[most])) {
		t.Fatalf("faults: %v", texts(faults))
	}
	if diff := cmp.Diff(owners[most], faults[i].Devices); diff != "" || faults[i].Block != most || !faults[i].Lost {
		t.Errorf("block %d, want %d; devices (-want +got):\n%s", faults[i].Block, most, diff)
	}
	for _, f := range faults {
		if f.Code == check.DataLeak || f.Code == check.MetadataLeak {
			t.Errorf("with damage, counts that are too high prove nothing: %v", f.String())
		}
	}
}

// Every block of an image fails in turn: the check goes on, and says which.
func TestReadErrors(t *testing.T) {
	image, err := fixtures.Image("transactions")
	if err != nil {
		t.Fatal(err)
	}
	used := 0
	for nr := block.Nr(1); nr < 1024; nr++ {
		dev := block.NewMemFrom(image)
		dev.FailReads(nr)
		faults, sum := faultsOf(t, dev, check.Options{})
		if sum.Fatal == 0 {
			continue
		}
		used++
		if !slices.ContainsFunc(faults, func(f check.Fault) bool { return f.Severity == check.Fatal && f.Block == nr }) {
			t.Errorf("block %d fails, but the faults are %v", nr, texts(faults))
		}
	}
	if truths, _ := fixtures.Truths(); used != int(truths["transactions"].MetadataUsed)-1 {
		t.Errorf("%d blocks are missed when they fail, want all but the superblock of %d", used, truths["transactions"].MetadataUsed)
	}
	dev := block.NewMemFrom(image)
	dev.FailReads(0)
	if _, err := check.Run(t.Context(), dev, check.Options{}, func(check.Fault) {}); err == nil {
		t.Error("block 0 cannot be read, but there is no error")
	}
}

// What is found does not depend on how many goroutines look.
func TestDeterministic(t *testing.T) {
	l := newLab(t, "wide-sharing")
	for i := range 30 {
		l.WriteAt([]byte{0xff}, int64(l.leaf(i, i%10))*block.Size+77)
	}
	l.put32(l.sb.DetailsRoot, detailsValues+20, 0)
	want, _ := faultsOf(t, l.Mem, check.Options{Parallel: 1})
	for _, parallel := range []int{2, 3, 8} {
		got, _ := faultsOf(t, l.Mem, check.Options{Parallel: parallel})
		if diff := cmp.Diff(texts(want), texts(got)); diff != "" {
			t.Errorf("with %d goroutines (-1 +%d):\n%s", parallel, parallel, diff)
		}
	}
}

func TestOptions(t *testing.T) {
	l := newLab(t, "metadata-snap")
	l.WriteAt([]byte{0xff}, int64(l.leaf(2, 0))*block.Size+77) // of device 3, made after the snapshot
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
	if len(faults) != 1 || faults[0].Code != check.SnapshotDamaged {
		t.Errorf("no snapshot: %v", texts(faults))
	}
	faults, sum := faultsOf(t, fixtures.Mem(t, "layers"), check.Options{MappingRoot: l.sb.MappingRoot + 1})
	if sum.Fatal == 0 {
		t.Errorf("a wrong root passes: %v", texts(faults))
	}
}

// Cancelling ends a check with the context's error.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := check.Run(ctx, fixtures.Mem(t, "layers"), check.Options{}, func(check.Fault) {}); err == nil {
		t.Error("no error")
	}
}

// Whatever the metadata is, the check ends, and what it passes can be dumped.
func FuzzCheck(f *testing.F) {
	image, err := fixtures.Image("transactions")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{1, 0, 20, 0, 0, 255})
	f.Add(bytes.Repeat([]byte{3, 0, 16, 0, 7, 1}, 9))
	f.Fuzz(func(t *testing.T, edits []byte) {
		dev := block.NewMemFrom(slices.Clone(image))
		for ; len(edits) >= 6; edits = edits[6:] { // block, offset, value; with the checksum repaired
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
		var total uint64
		sum, err := check.Run(t.Context(), dev, check.Options{}, func(check.Fault) {})
		if err != nil || sum.Fatal > 0 {
			return
		}
		pool, err := metadata.Open(dev, metadata.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for d, err := range pool.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			for r, err := range pool.Runs(t.Context(), d) {
				if err != nil {
					t.Fatal(err)
				}
				total += r.Len
			}
		}
		if total != sum.Mappings {
			t.Errorf("%d mappings are dumped, %d were checked", total, sum.Mappings)
		}
	})
}

func ExampleRun() {
	image, _ := fixtures.Image("powercut")
	sum, err := check.Run(context.Background(), block.NewMemFrom(image), check.Options{}, func(f check.Fault) {
		fmt.Println(f.Severity, f.Code, f.First)
	})
	fmt.Println(sum.Fatal, "fatal,", sum.Mappings, "mappings", err)
	// Output:
	// note data-block-leak 26019
	// note data-block-leak 26035
	// 0 fatal, 24710 mappings <nil>
}
