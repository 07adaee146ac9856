package repair

import (
	"iter"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Report says what a repair found, chose, recovered and lost.
type Report struct {
	Header      metadata.Header // of the repaired metadata
	MappingRoot block.Nr        // root of the top level that was read; 0: lost
	DetailsRoot block.Nr        // root of the device details that were read; 0: lost
	Damaged     bool            // something needed repair
	// Chosen is set if the state had to be chosen because the superblock does not name it or cannot be
	// used. Reason says why it was chosen.
	Chosen bool
	Reason string
	// Alternatives are the states that may also be right, the likeliest first.
	Alternatives []*State
	Devices      []DeviceReport // by ascending id
	Orphans      []Orphan       // trees in use whose device is unknown
	// LostVolumes are the LVM volumes missing from the result, by ascending id.
	LostVolumes []metadata.DevID
	Doubts      []string // what may be missing but cannot be counted
	Corrections []block.Correction
	Notes       []string // what was found and decided, in order

	leaves bool // there are mappings on the device, of whatever device
}

// A DeviceReport reports what is left of a device. If Known is set, Expected is the sum of Read,
// Confirmed, Guessed and Lost.
type DeviceReport struct {
	ID        metadata.DevID
	Expected  uint64 // mappings according to the device details
	Known     bool   // there are details, and their count is not too low
	Read      uint64 // mappings found through the chosen state
	Confirmed uint64 // mappings found elsewhere; all reference counts balance with them
	Guessed   uint64 // mappings found elsewhere without such proof
	Lost      uint64 // mappings not found
	Reused    uint64 // mappings whose data blocks belong to others in the superblock's state
	// LostRanges is the number of ranges of thin blocks where mappings may be missing or guessed; see
	// Holes.
	LostRanges   uint64
	TimesGuessed bool // the times in the device details are guesses
	Dropped      bool // left out of the result
	Named        bool // the caller asked to leave it out
	Assigned     bool // its tree is an orphan that got this id

	grove      *grove // has its tree, if there are lost ranges
	root       entry
	hasLost    bool // mappings are missing, not only guessed
	unproven   bool // everything below rebuilt nodes is guessed
	guessedAll bool // the whole tree is guessed
}

// Holes yields the ranges where mappings may be missing or are guessed, by ascending keys. Devices
// share their losses, so all devices together may yield far more ranges than there are.
func (d *DeviceReport) Holes() iter.Seq[LostRange] {
	if d.LostRanges == 0 {
		return func(func(LostRange) bool) {}
	}
	return d.grove.lostRanges(d.root, d.hasLost)
}

// Guesses yields ranges of thin blocks by ascending keys. All mappings in them are guessed.
func (d *DeviceReport) Guesses() iter.Seq[metadata.KeyRange] {
	switch {
	case d.Guessed == 0:
		return func(func(metadata.KeyRange) bool) {}
	case d.guessedAll:
		return func(yield func(metadata.KeyRange) bool) { yield(btree.AllKeys) }
	}
	return d.grove.guesses(d.root, d.unproven)
}

// Found returns the number of mappings the device has in the result.
func (d *DeviceReport) Found() uint64 { return d.Read + d.Confirmed + d.Guessed }

// Complete reports whether the device has all its mappings and their data, none of them guessed.
func (d *DeviceReport) Complete() bool {
	return d.Guessed == 0 && d.Lost == 0 && d.Reused == 0 && (d.Known || d.LostRanges == 0)
}

// A LostRange is a range of thin blocks where mappings are missing or guessed.
type LostRange struct {
	Keys  metadata.KeyRange
	Block block.Nr // the block that should lead to them
	Err   error    // what is wrong with it
}

// An Orphan is a whole mapping tree that the metadata space map counts as used, but that no known
// device has.
type Orphan struct {
	Root     block.Nr
	Mappings uint64
	Devices  []metadata.DevID // devices without a root that may have had it
	Assigned metadata.DevID   // the device it was given to, if Kept
	Kept     bool
}

// Lossless reports whether every mapping was read or confirmed, and nothing can have been lost.
func (r *Report) Lossless() bool {
	for i := range r.Devices {
		if d := &r.Devices[i]; !d.Complete() && !d.Named {
			return false
		}
	}
	return !r.Chosen && len(r.Doubts)+len(r.LostVolumes) == 0
}

// Empty reports whether the result is empty although the pool was not.
func (r *Report) Empty() bool {
	expected, found := uint64(0), uint64(0)
	for i := range r.Devices {
		if d := &r.Devices[i]; !d.Dropped {
			expected, found = expected+d.Expected, found+d.Found()
		}
	}
	return found == 0 && (expected > 0 || r.Damaged && r.leaves)
}
