package repair

import (
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
)

// A Report says what a repair found, chose, lost and guessed.
type Report struct {
	Header      metadata.Header // of the mended metadata
	MappingRoot block.Nr        // the top level that was followed; 0: put together anew
	DetailsRoot block.Nr        // the device details that were followed; 0: put together anew
	Damaged     bool            // something had to be mended
	// Guessed says that the superblock named no usable roots, so that newer ones may
	// have been lost without a trace.
	Guessed bool
	Devices []DeviceReport // by ascending id
	Flips   []block.Flip   // single bits that were put right
	Notes   []string       // what was decided and why, in order

	leaves bool // there are mappings on the device, whoever had them
}

// A DeviceReport says what is left of a device.
type DeviceReport struct {
	ID       metadata.DevID
	Expected uint64 // mappings that the device details count
	Known    bool   // there are such details
	Found    uint64 // mappings in the result
	// Recovered is how many of Found no tree led to any more; that they belong here
	// follows from the reference counts. Old is how many were taken from an older
	// transaction without such a proof.
	Recovered, Old uint64
	// Reused is how many of Found, in a state of the pool that was asked for, have data
	// blocks that others use today: what was in them is gone.
	Reused  uint64
	Lost    []LostRange // by ascending keys
	MadeUp  bool        // the device details are not those of the kernel
	Dropped bool        // left out of the result
	Named   bool        // its id was given as one to be left out
}

// A LostRange is thin blocks of which it is not known where they lie.
type LostRange struct {
	Keys  btree.KeyRange
	Block block.Nr // that should have led to them
	Err   error    // what is wrong with it
}

// Missing is how many mappings the device has lost at least.
func (d *DeviceReport) Missing() uint64 {
	if d.Found-d.Old >= d.Expected {
		return 0
	}
	return d.Expected - (d.Found - d.Old)
}

// Complete reports whether the device has all its mappings and their data, and no guessed ones. One
// that has more than it should has some that are not its own, and may lack others.
func (d *DeviceReport) Complete() bool {
	switch {
	case d.Old > 0 || d.Reused > 0:
		return false
	case d.Known:
		return d.Found == d.Expected
	}
	return len(d.Lost) == 0
}

// Lossless reports whether nothing was lost, for certain.
func (r *Report) Lossless() bool {
	for i := range r.Devices {
		if d := &r.Devices[i]; !d.Complete() && !d.Named {
			return false
		}
	}
	return !r.Guessed
}

// Empty reports whether there is nothing in the result of a pool that had something.
func (r *Report) Empty() bool {
	expected, found := uint64(0), uint64(0)
	for i := range r.Devices {
		if d := &r.Devices[i]; !d.Dropped {
			expected, found = expected+d.Expected, found+d.Found
		}
	}
	return found == 0 && (expected > 0 || r.Guessed && r.leaves)
}
