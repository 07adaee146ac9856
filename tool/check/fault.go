package check

import (
	"errors"
	"fmt"
	"strings"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Severity says how bad a fault is.
type Severity int

// The severities.
const (
	// Note is worth knowing but harmless: no reason to keep a pool down.
	Note Severity = iota
	// NonFatal wastes space or speed, or may do harm later.
	NonFatal
	// Fatal means that the kernel refuses the pool, or that data is lost or in danger.
	Fatal
)

func (s Severity) String() string { return [...]string{"note", "non-fatal", "fatal"}[s] }

// A Code identifies a kind of fault. Codes are stable: scripts and tests match on them.
type Code string

// The codes.
const (
	SuperblockDamaged  Code = "superblock-damaged"
	SuperblockSetBack  Code = "superblock-set-back" // found by the command, which uses tool/repair
	Unformatted        Code = "never-formatted"
	VersionUnknown     Code = "version-unknown"
	FeaturesUnknown    Code = "features-unknown"
	BlockSizeInvalid   Code = "data-block-size-invalid"
	MetaBlockSizeOdd   Code = "metadata-block-size-odd"
	NeedsCheckSet      Code = "needs-check"
	FlagsUnknown       Code = "flags-unknown"
	SizeOdd            Code = "superblock-size-odd"
	TailNotZero        Code = "unused-bytes-not-zero"
	DeviceTooSmall     Code = "device-too-small"
	RaggedEnd          Code = "ragged-end"
	NodeDamaged        Code = "node-damaged"
	KeysOutOfBounds    Code = "keys-out-of-bounds"
	DepthUneven        Code = "depth-uneven"
	NodeUnderfull      Code = "node-underfull"
	NodeHeaderOdd      Code = "node-header-odd"
	NodeCapacityOdd    Code = "node-capacity-odd"
	TwoRoles           Code = "block-in-two-roles"
	DeviceIDTooHigh    Code = "device-id-too-high"
	DeviceMismatch     Code = "device-mismatch"
	MappedBlocksWrong  Code = "mapped-blocks-wrong"
	MappingBeyond      Code = "mapping-beyond-data"
	TimeTooHigh        Code = "time-too-high"
	TransactionTooHigh Code = "transaction-id-too-high"
	SharedWritable     Code = "shared-block-writable"
	MappedTwice        Code = "data-block-mapped-twice"
	SpaceMapDamaged    Code = "space-map-damaged"
	SpaceMapOdd        Code = "space-map-odd"
	SpaceMapCounters   Code = "space-map-counters"
	DataCountLow       Code = "data-count-too-low"
	DataCountHigh      Code = "data-count-too-high"
	DataLeak           Code = "data-block-leak"
	MetadataCountLow   Code = "metadata-count-too-low"
	MetadataCountHigh  Code = "metadata-count-too-high"
	MetadataLeak       Code = "metadata-block-leak"
	SnapshotDamaged    Code = "metadata-snapshot-damaged"
	SnapshotMissing    Code = "metadata-snapshot-missing"
	SnapshotOdd        Code = "metadata-snapshot-odd"
)

// What an admin should do next, by the kind of damage.
const (
	adviseRepair  = "keep the pool inactive, copy this metadata, then rebuild it into another device with thin_repair"
	adviseRebuild = "rebuild the metadata into another device: thin_dump, then thin_restore"
	adviseWaste   = "this only wastes space; perhaps you wanted to run with --auto-repair, which frees it"
	adviseFix     = "perhaps you wanted to run with --auto-repair, which fixes this"
	adviseNothing = "nothing needs to be done"
	adviseWiped   = "do not activate the pool; copy this metadata, then rebuild it with thin_repair, giving --data-block-size, --nr-data-blocks and --transaction-id from LVM"
	adviseAtLimit = "a write to one of the devices also changes the others: copy the content of all but one to new devices, then delete the old ones"
)

var advice = map[Code]string{
	SuperblockDamaged: "make sure that this is the metadata device (_tmeta); if it is, copy it and try thin_repair",
	SuperblockSetBack: "stop all hosts on which the pool may be active, copy this metadata, list the states that are left with thin_repair --list-states, then rebuild it into another device with thin_repair",
	Unformatted:       "if the pool ever held data, do not activate it: the kernel would format it; look for the right device, or list what is left with thin_repair --list-states",
	VersionUnknown:    "use a newer version of these tools, if there is one",
	FeaturesUnknown:   "use a newer kernel and newer tools: this pool has features that these tools do not know",
	BlockSizeInvalid:  "rebuild with the right size: thin_dump --data-block-size, then thin_restore",
	NeedsCheckSet:     "if nothing fatal is found, --clear-needs-check-flag clears the flag",
	DeviceTooSmall:    "the device is truncated or incomplete: get the rest of it back before anything else",
	SharedWritable:    "use --auto-repair to make the kernel copy the shared blocks before it writes to them; it raises the snapshotted_time of the devices and the superblock's time",
	MappedTwice:       "the device shows the same data in two places: compare it with a backup",
	SpaceMapCounters:  "nothing needs to be done; --auto-repair corrects them",
	SpaceMapOdd:       adviseFix,
	DataLeak:          adviseWaste,
	MetadataLeak:      adviseWaste,
	DataCountHigh:     adviseWaste,
	MetadataCountHigh: adviseWaste,
	SnapshotMissing:   "if no pool uses this metadata, check it without -m; in a running pool, 'dmsetup message POOL 0 reserve_metadata_snap' makes a metadata snapshot",
	SnapshotDamaged:   "the pool itself may work: rebuild it without the metadata snapshot: thin_dump, then thin_restore",
}

// Names of the trees of devices in faults.
const (
	treeTop     = "mapping tree, top level"
	treeDetails = "device details"
)

// A Fault is one fault in the metadata.
type Fault struct {
	Code     Code
	Severity Severity
	Tree     string           // or another part of the metadata, in words
	Devices  []metadata.DevID // affected, ascending; nil: none or all
	// MoreDevices is set if there are too many devices to list in Devices.
	MoreDevices bool
	Block       *block.Nr // metadata block with the fault; nil: no single block
	// Lost is the range of keys that can no longer be reached: thin blocks in a device's mappings,
	// device ids in the other trees; nil: none.
	Lost   *metadata.KeyRange
	Counts *WrongCounts // nil: not about counts
	Err    error        // the cause, a sentence; wraps block.ErrCorrupt or an I/O error if there is one

	atLimit bool   // SharedWritable, and no time is later than the mappings'
	newest  uint32 // TimeTooHigh: the superblock time that would be high enough; 0: none
}

// WrongCounts are N blocks from First on with the same wrong reference count.
type WrongCounts struct {
	First, N        uint64
	Stored, Counted uint32
}

// at returns the block that faults are sorted by. Faults without one come first.
func (f *Fault) at() block.Nr {
	if f.Block == nil {
		return 0
	}
	return *f.Block
}

// Advice returns what to do next.
func (f *Fault) Advice() string {
	if f.atLimit {
		return adviseAtLimit
	}
	if wiped, ok := errors.AsType[*WipedError](f.Err); ok {
		return wiped.advice()
	}
	if a := advice[f.Code]; a != "" {
		return a
	}
	switch f.Severity {
	case Fatal:
		return adviseRepair
	case NonFatal:
		if f.Fixable() {
			return adviseFix
		}
		return adviseRebuild
	}
	return adviseNothing
}

// Urgency ranks advice for faults of the same severity. Only the most urgent is worth giving.
func (f *Fault) Urgency() int {
	switch {
	case f.Code == DeviceTooSmall || f.Code == FeaturesUnknown || f.Code == SuperblockSetBack: // other faults may follow from it
		return 2
	case f.Code == SnapshotDamaged || f.Code == SpaceMapCounters || f.Advice() == adviseNothing:
		return 0
	}
	return 1
}

// InDevices reports whether the fault is in one of the two trees of devices, so that the
// superblock may point to an old or wrong root.
func (f *Fault) InDevices() bool {
	switch f.Code {
	case DeviceMismatch:
		return true
	case NodeDamaged, KeysOutOfBounds, DeviceIDTooHigh:
		return f.Tree == treeTop || f.Tree == treeDetails
	}
	return false
}

// Fixable reports whether a [Fix] can fix the fault: non-fatal faults in the space maps, shared
// blocks that would be overwritten in place, and the needs_check flag.
func (f *Fault) Fixable() bool {
	inMap := f.Tree == dataCodes.tree || f.Tree == metadataCodes.tree
	return f.Severity != Fatal && inMap || f.Code == SharedWritable && !f.atLimit || f.Code == NeedsCheckSet
}

func (f *Fault) String() string { return f.Text(nil) }

// Text is like String, with device names from name. If name is nil or returns "", the device has
// no name.
func (f *Fault) Text(name func(metadata.DevID) string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%v: ", f.Severity)
	if f.Tree != "" {
		fmt.Fprintf(&s, "%s: ", f.Tree)
	}
	if len(f.Devices) > 0 {
		fmt.Fprintf(&s, "%s: ", deviceList(f.Devices, f.MoreDevices, name))
	}
	if f.Lost != nil {
		fmt.Fprintf(&s, "lost %v: ", f.Lost)
	}
	fmt.Fprintf(&s, "%v [%s]", f.Err, f.Code)
	return s.String()
}

// deviceList lists devices, with a short form for many.
func deviceList(ids []metadata.DevID, more bool, name func(metadata.DevID) string) string {
	const most = 8
	if len(ids) == 1 && !more {
		if name == nil {
			return metadata.Label(ids[0], "")
		}
		return metadata.Label(ids[0], name(ids[0]))
	}
	var s strings.Builder
	s.WriteString("devices")
	for i, id := range ids[:min(len(ids), most)] {
		if i > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s, " %d", id)
	}
	switch {
	case more:
		s.WriteString(" and others")
	case len(ids) > most:
		fmt.Fprintf(&s, " and %d more", len(ids)-most)
	}
	return s.String()
}

// DataBlocks reports whether the fault is about counts of data blocks, not metadata blocks.
func (f *Fault) DataBlocks() bool { return f.Tree == dataCodes.tree }
