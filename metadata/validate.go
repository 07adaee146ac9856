package metadata

import "fmt"

// A Validator checks that a description of a pool follows the rules of [Visitor] and the limits of
// the format. A program that reads a description calls the Validator's methods before the
// visitor's. An error says what is wrong; the caller adds where. The zero Validator is ready to
// use.
type Validator struct {
	// Note, if not nil, is called for each harmless mistake that was corrected.
	Note func(string)

	header   Header
	names    Names    // of defs: index in defs; negative: empty
	defs     []extent // the non-empty ones
	devices  DevIDSet
	inDevice bool
	id       DevID  // of the current device
	name     string // of the current def
	claimed  uint64 // mapped_blocks of the current device
	cur      extent // of the current device or def
}

// An extent is what a Validator remembers about a device or def.
type extent struct {
	mapped      uint64
	first, last ThinBlock // valid if mapped > 0
}

// Begin checks the pool's header. NrDataBlocks of zero means unknown: data blocks are then only
// checked against the format's limit.
func (v *Validator) Begin(h Header) error {
	v.header = h
	v.names, v.defs, v.devices = Names{}, nil, DevIDSet{}
	if v.header.NrDataBlocks == 0 {
		v.header.NrDataBlocks = MaxDataBlocks
	}
	switch {
	case h.Version != 1 && h.Version != 2:
		return fmt.Errorf("version is %d, want 1 or 2", h.Version)
	case h.Time > MaxTime:
		return fmt.Errorf("time is %d, want at most %d", h.Time, MaxTime)
	case h.NrDataBlocks > MaxDataBlocks:
		return fmt.Errorf("nr_data_blocks is %d, want at most %d", h.NrDataBlocks, uint64(MaxDataBlocks))
	}
	return CheckDataBlockSize(uint64(h.DataBlockSize))
}

// CheckDataBlockSize returns an error if a pool cannot have data blocks of that size.
func CheckDataBlockSize(sectors uint64) error {
	if sectors < MinDataBlockSize || sectors > MaxDataBlockSize || sectors%MinDataBlockSize != 0 {
		return fmt.Errorf("data_block_size is %d sectors, want a multiple of %d from %d to %d",
			sectors, MinDataBlockSize, MinDataBlockSize, MaxDataBlockSize)
	}
	return nil
}

// BeginDef starts the def with the given name.
func (v *Validator) BeginDef(name string) error {
	if _, ok := v.names.Get(name); ok {
		return fmt.Errorf("def %q is defined twice", name)
	}
	v.name, v.inDevice, v.cur = name, false, extent{}
	return nil
}

// EndDef ends the current def.
func (v *Validator) EndDef() error {
	const empty = -1
	if v.cur.mapped == 0 {
		v.names.Set(v.name, empty)
		return nil
	}
	v.names.Set(v.name, int32(len(v.defs)))
	v.defs = append(v.defs, v.cur)
	return nil
}

// BeginDevice starts device id.
func (v *Validator) BeginDevice(id DevID, d Details) error {
	switch {
	case id > MaxDevID:
		return fmt.Errorf("device id is %d, want at most %d", id, MaxDevID)
	case !v.devices.Add(id):
		return fmt.Errorf("device %d appears twice", id)
	case d.CreationTime > MaxTime || d.SnapshottedTime > MaxTime:
		return fmt.Errorf("device %d has the times %d and %d, want at most %d", id, d.CreationTime, d.SnapshottedTime, MaxTime)
	}
	v.id, v.inDevice, v.claimed, v.cur = id, true, d.MappedBlocks, extent{}
	return nil
}

// EndDevice ends the current device and returns how many blocks it maps, whatever its details say.
func (v *Validator) EndDevice() uint64 {
	if v.cur.mapped != v.claimed && v.Note != nil {
		v.Note(fmt.Sprintf("device %d: mapped_blocks is %d, but %d blocks are mapped; using %d",
			v.id, v.claimed, v.cur.mapped, v.cur.mapped))
	}
	return v.cur.mapped
}

// Ref checks a reference from the current device to a def.
func (v *Validator) Ref(name string) error {
	number, ok := v.names.Get(name)
	if !ok {
		return fmt.Errorf("device %d refers to %q, which is not defined before it", v.id, name)
	}
	if number < 0 {
		return nil // empty
	}
	def := v.defs[number]
	if v.cur.mapped > 0 && def.first <= v.cur.last {
		return fmt.Errorf("device %d: def %q starts at thin block %d, not after %d before it", v.id, name, def.first, v.cur.last)
	}
	v.cur.add(def.first, def.last, def.mapped)
	return nil
}

// Run checks a run of the current device or def. A run of length 0 is always valid; the caller
// must drop it.
func (v *Validator) Run(r Run) error {
	if r.Len == 0 {
		return nil
	}
	last := r.Thin + ThinBlock(r.Len-1)
	switch nr := v.header.NrDataBlocks; {
	case last < r.Thin:
		return v.runError("thin blocks from %d on (%d of them): more than the format allows", r.Thin, r.Len)
	case uint64(r.Data) >= nr || r.Len > nr-uint64(r.Data):
		return v.runError("thin block %d: data block %d is beyond the data device, which has %d", last, r.Data+DataBlock(r.Len-1), nr)
	case r.Time > MaxTime:
		return v.runError("thin block %d: time is %d, want at most %d", r.Thin, r.Time, MaxTime)
	case v.cur.mapped > 0 && r.Thin <= v.cur.last:
		return v.runError("thin block %d follows %d, but thin blocks must be in ascending order", r.Thin, v.cur.last)
	}
	v.cur.add(r.Thin, last, r.Len)
	return nil
}

func (v *Validator) runError(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if v.inDevice {
		return fmt.Errorf("device %d: %s", v.id, what)
	}
	return fmt.Errorf("def %q: %s", v.name, what)
}

func (e *extent) add(first, last ThinBlock, n uint64) {
	if e.mapped == 0 {
		e.first = first
	}
	e.last = last
	e.mapped += n
}
