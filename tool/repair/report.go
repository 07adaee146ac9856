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
	MappingRoot block.Nr        // root of the top level that was followed; 0: it was lost
	DetailsRoot block.Nr        // root of the device details that were followed; 0: they were lost
	Damaged     bool            // something had to be repaired
	// Chosen says that the state is a choice: the superblock does not name it, or
	// cannot be used. Reason says why it was taken.
	Chosen bool
	Reason string
	// Alternatives are the states that may be the right one as well, the likeliest
	// first.
	Alternatives []*State
	Devices      []DeviceReport // by ascending id
	Orphans      []Orphan       // trees that are in use, and whose device is not known
	// Missing are the volumes that LVM has and the result has not, by ascending id.
	LostVolumes []metadata.DevID
	Doubts      []string // what may be missing and cannot be counted
	Corrections []block.Correction
	Notes       []string // what was found and decided, in order

	leaves bool // there are mappings on the device, whoever had them
}

// A DeviceReport says what is left of a device. Where Known, Expected is the sum of Read,
// Confirmed, Guessed and Lost.
type DeviceReport struct {
	ID        metadata.DevID
	Expected  uint64 // mappings that the device details count
	Known     bool   // there are such details, and they do not count too few
	Read      uint64 // mappings that the chosen state leads to
	Confirmed uint64 // mappings found elsewhere, with which all reference counts balance
	Guessed   uint64 // mappings found elsewhere, without that
	Lost      uint64 // mappings that were not found
	Reused    uint64 // mappings whose data blocks belong to others in the state of the superblock
	// LostRanges is how many ranges of thin blocks there are among which mappings may be
	// missing or guessed; see Holes.
	LostRanges   uint64
	TimesGuessed bool // the times in the device details are guesses
	Dropped      bool // left out of the result
	Named        bool // its id was given as one to be left out
	Assigned     bool // its tree is an orphan that was given this id

	grove      *grove // where its tree is, if there are lost ranges
	root       entry
	hasLost    bool // mappings are missing, not only guessed
	unproven   bool // what is below rebuilt nodes is guessed
	guessedAll bool // the whole tree is guessed
}

// Holes yields where mappings may be missing or are guessed, by ascending keys. Devices
// share what they have lost, so the ranges of all devices together can be far more than
// those that there are.
func (d *DeviceReport) Holes() iter.Seq[LostRange] {
	if d.LostRanges == 0 {
		return func(func(LostRange) bool) {}
	}
	return d.grove.lostRanges(d.root, d.hasLost)
}

// Guesses yields thin blocks whose mappings, as far as they have any, are guessed, by ascending keys.
func (d *DeviceReport) Guesses() iter.Seq[metadata.KeyRange] {
	switch {
	case d.Guessed == 0:
		return func(func(metadata.KeyRange) bool) {}
	case d.guessedAll:
		return func(yield func(metadata.KeyRange) bool) { yield(btree.AllKeys) }
	}
	return d.grove.guesses(d.root, d.unproven)
}

// Found is how many mappings the device has in the result.
func (d *DeviceReport) Found() uint64 { return d.Read + d.Confirmed + d.Guessed }

// Complete reports whether the device has all its mappings and their data, and no
// guessed ones.
func (d *DeviceReport) Complete() bool {
	return d.Guessed == 0 && d.Lost == 0 && d.Reused == 0 && (d.Known || d.LostRanges == 0)
}

// A LostRange is thin blocks among which mappings are missing or guessed.
type LostRange struct {
	Keys  metadata.KeyRange
	Block block.Nr // that should have led to them
	Err   error    // what is wrong with it
}

// An Orphan is a whole mapping tree that the metadata space map counts as used, though
// no device is known to have it.
type Orphan struct {
	Root     block.Nr
	Mappings uint64
	Devices  []metadata.DevID // that have lost their root and may have had it
	Assigned metadata.DevID   // the device that it was given to, if Kept
	Kept     bool
}

// Lossless reports whether every mapping was read or confirmed and nothing can be lost.
func (r *Report) Lossless() bool {
	for i := range r.Devices {
		if d := &r.Devices[i]; !d.Complete() && !d.Named {
			return false
		}
	}
	return !r.Chosen && len(r.Doubts)+len(r.LostVolumes) == 0
}

// Empty reports whether there is nothing in the result of a pool that had something.
func (r *Report) Empty() bool {
	expected, found := uint64(0), uint64(0)
	for i := range r.Devices {
		if d := &r.Devices[i]; !d.Dropped {
			expected, found = expected+d.Expected, found+d.Found()
		}
	}
	return found == 0 && (expected > 0 || r.Damaged && r.leaves)
}
