package damage

import (
	"errors"
	"fmt"
	"slices"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A Role is what a block is used for.
type Role int

// The roles of blocks.
const (
	NoRole Role = iota
	Superblock
	Snapshot   // superblock of the metadata snapshot
	TopLevel   // node of the mapping tree's upper level
	Details    // node of the device details
	Mapping    // node of a device's mappings
	DataIndex  // node of the index of the data space map
	Overflow   // node of the tree of counts of 3 and more
	DataBitmap // of the data space map
	Index      // index block of the metadata space map
	Bitmap     // of the metadata space map
)

var roleNames = [...]string{
	"nothing", "superblock", "metadata snapshot", "top level", "device details", "mappings",
	"index of the data space map", "high counts", "data bitmap", "index block", "metadata bitmap",
}

func (r Role) String() string { return roleNames[r] }

// A Reading is what a plain reader finds: it follows every pointer from block 0, believes valid
// blocks, and reports invalid ones. It is not optimised and shares no tree code with the tools.
type Reading struct {
	Err     error // of block 0: nothing else is known
	SB      metadata.Superblock
	Devices map[metadata.DevID]*Device
	Lost    []Lost
	// Facts are sums of everything the format stores twice, independent of order. If damage changes
	// one, the metadata contradicts itself.
	Facts [nrTopics]uint64
	// Free is a sum of what the format stores only once.
	Free uint64
}

// A Device is what a reading finds about a thin device.
type Device struct {
	Details             metadata.Details
	HasDetails, HasTree bool
	Mapped              uint64 // entries in its leaves, in or out of bounds
	parts               []part
}

// A part is the readable entries of a leaf within the bounds given by its parents.
type part struct {
	leaf  *node
	first int // entry
	end   int
}

// Lost is a pointer to something unusable.
type Lost struct {
	Role    Role
	Block   block.Nr // pointed to
	Parent  block.Nr // with the pointer
	Devices []metadata.DevID
	Begin   uint64 // first lost key; End is 0 if there is no upper bound
	End     uint64
	Held    bool // reached from the metadata snapshot
	Err     error
}

func (l *Lost) String() string {
	return fmt.Sprintf("%v: block %d, from block %d: devices %v: %v", l.Role, l.Block, l.Parent, l.Devices, l.Err)
}

// Topics of facts.
const (
	pointers   = iota // to metadata blocks
	dataRefs          // data blocks mapped by distinct leaves
	countsOff         // mapped_blocks against mappings, and the device trees against each other
	storedData        // counts in the space maps
	storedMeta
	tooHigh // times and data blocks above the superblock's limits
	header  // superblock fields that readers check
	nrTopics
)

var topicNames = [...]string{"pointers", "data references", "mapped blocks", "data counts", "metadata counts", "limits", "header"}

// mix hashes three numbers, so that sums of hashes are equal only for equal sets.
func mix(a, b, c uint64) uint64 {
	h := uint64(0x9E3779B97F4A7C15)
	for _, v := range [...]uint64{a, b, c} {
		h = (h ^ v) * 0xBF58476D1CE4E5B9
		h ^= h >> 29
		h *= 0x94D049BB133111EB
		h ^= h >> 32
	}
	return h
}

// Differs names the facts that differ between two readings.
func (r *Reading) Differs(other *Reading) []string {
	var names []string
	for i, f := range r.Facts {
		if f != other.Facts[i] {
			names = append(names, topicNames[i])
		}
	}
	return names
}

// Runs returns the device's readable mappings in order of thin blocks.
func (d *Device) Runs() []metadata.Run {
	var runs []metadata.Run
	for _, p := range d.parts {
		for i := p.first; i < p.end; i++ {
			data, time := metadata.UnpackMapping(p.leaf.values[i])
			r := metadata.Run{Thin: metadata.ThinBlock(p.leaf.keys[i]), Data: data, Len: 1, Time: time}
			if n := len(runs); n > 0 && r.Continues(runs[n-1]) {
				runs[n-1].Len++
			} else {
				runs = append(runs, r)
			}
		}
	}
	return runs
}

// Mappings returns the number of mappings of all devices.
func (r *Reading) Mappings() uint64 {
	n := uint64(0)
	for _, d := range r.Devices {
		n += d.readable()
	}
	return n
}

// readable returns the number of readable mappings; 0 for a nil device.
func (d *Device) readable() uint64 {
	if d == nil {
		return 0
	}
	n := 0
	for _, p := range d.parts {
		n += p.end - p.first
	}
	return uint64(n)
}

// Common counts the mappings two readings agree on: device, thin block and data block.
func (r *Reading) Common(other *Reading) uint64 {
	n := uint64(0)
	for id, d := range r.Devices {
		if o := other.Devices[id]; o != nil {
			n += common(d, o)
		}
	}
	return n
}

// common counts the mappings two devices agree on.
func common(a, b *Device) uint64 {
	n := uint64(0)
	next := b.cursor()
	thin, data, more := next()
	for _, p := range a.parts {
		for i := p.first; i < p.end; i++ {
			for more && thin < p.leaf.keys[i] {
				thin, data, more = next()
			}
			if !more {
				return n
			}
			if thin == p.leaf.keys[i] && data == p.leaf.values[i]>>24 {
				n++
			}
		}
	}
	return n
}

// cursor returns a function that returns the mappings of d one by one.
func (d *Device) cursor() func() (thin, data uint64, ok bool) {
	at, i := 0, 0
	if len(d.parts) > 0 {
		i = d.parts[0].first
	}
	return func() (uint64, uint64, bool) {
		for at < len(d.parts) && i == d.parts[at].end {
			if at++; at < len(d.parts) {
				i = d.parts[at].first
			}
		}
		if at == len(d.parts) {
			return 0, 0, false
		}
		leaf := d.parts[at].leaf
		i++
		return leaf.keys[i-1], leaf.values[i-1] >> 24, true
	}
}

// reader builds a Reading.
type reader struct {
	im    *Image // source of cached nodes; may be nil
	read  func(block.Nr) (*block.Data, error)
	same  func(block.Nr) bool // the block is unchanged from im
	learn bool                // im is being read for the first time

	out     Reading
	limit   block.Nr
	counted map[place]bool // nodes already added to the facts
	roles   map[block.Nr]Role
	held    bool
	lost    map[lostKey]int // index in out.Lost
}

type place struct {
	nr   block.Nr
	size int
}

type lostKey struct {
	role       Role
	nr, parent block.Nr
	held       bool
}

func newReader(im *Image, read func(block.Nr) (*block.Data, error)) *reader {
	return &reader{
		im: im, read: read, same: func(block.Nr) bool { return true },
		out:     Reading{Devices: map[metadata.DevID]*Device{}},
		counted: map[place]bool{}, roles: map[block.Nr]Role{}, lost: map[lostKey]int{},
	}
}

// Read reads metadata through read, block by block.
func Read(read func(block.Nr) (*block.Data, error)) *Reading { return newReader(nil, read).all() }

// ReadAll reads the metadata in content.
func ReadAll(content []byte) *Reading {
	im := &Image{Content: content}
	return Read(im.block)
}

func (r *reader) fact(topic int, a, b, c uint64) { r.out.Facts[topic] += mix(a, b, c) }

func (r *reader) free(a, b, c uint64) { r.out.Free += mix(a, b, c) }

func (r *reader) all() *Reading {
	sb, err := r.superblock(metadata.SuperblockLocation)
	if n := sb.MetadataSpaceMap.NrBlocks; err == nil && (n == 0 || n > spacemap.MaxMetadata) {
		err = fmt.Errorf("metadata of %d blocks", n)
	}
	if err != nil {
		r.out.Err = err
		return &r.out
	}
	r.out.SB = sb
	r.roles[metadata.SuperblockLocation] = Superblock
	r.limit = block.Nr(sb.MetadataSpaceMap.NrBlocks)
	r.devices(sb)
	r.compareTrees()
	r.dataMap(sb)
	r.metadataMap(sb)
	if sb.HeldRoot != 0 {
		r.snapshot(sb.HeldRoot)
	}
	return &r.out
}

// superblock reads the superblock at nr. It returns an error for what the kernel refuses.
func (r *reader) superblock(nr block.Nr) (metadata.Superblock, error) {
	b, err := r.read(nr)
	if err != nil {
		return metadata.Superblock{}, err
	}
	sb, err := metadata.DecodeSuperblock(nr, b)
	if err != nil {
		return sb, err
	}
	wrongSize := uint64(0)
	if metadata.CheckDataBlockSize(uint64(sb.DataBlockSize)) != nil {
		wrongSize = 1
	}
	r.fact(header, uint64(sb.IncompatFlags), uint64(sb.CompatROFlags), wrongSize)
	r.free(uint64(sb.Time), sb.TransactionID, uint64(sb.DataBlockSize))
	r.free(sb.DataSpaceMap.NrBlocks, sb.MetadataSpaceMap.NrBlocks, uint64(sb.Flags))
	return sb, nil
}

// snapshot reads the metadata snapshot. Its devices are not the pool's: only references and losses
// count.
func (r *reader) snapshot(held block.Nr) {
	r.point(held, Snapshot)
	sb, err := metadata.Superblock{}, errBeyond
	if r.inside(held) {
		sb, err = r.superblock(held)
	}
	r.held = true
	defer func() { r.held = false }()
	if err != nil {
		r.lose(Lost{Role: Snapshot, Block: held, Err: err})
		return
	}
	live := r.out.Devices
	r.out.Devices = map[metadata.DevID]*Device{}
	r.devices(sb)
	r.compareTrees()
	r.out.Devices = live
}

var errBeyond = errors.New("the pointer leaves the metadata")

func (r *reader) inside(nr block.Nr) bool { return nr > 0 && nr < r.limit }

// point counts a pointer to nr and records the role of nr.
func (r *reader) point(nr block.Nr, role Role) {
	r.fact(pointers, uint64(nr), 0, 0)
	if r.roles[nr] == NoRole {
		r.roles[nr] = role
	}
}

// lose records an unusable pointer. A loss shared by several devices counts once.
func (r *reader) lose(l Lost) {
	l.Held = r.held
	key := lostKey{l.Role, l.Block, l.Parent, l.Held}
	at, known := r.lost[key]
	if !known {
		r.lost[key] = len(r.out.Lost)
		r.out.Lost = append(r.out.Lost, l)
		return
	}
	old := &r.out.Lost[at]
	for _, id := range l.Devices {
		if i, found := slices.BinarySearch(old.Devices, id); !found {
			old.Devices = slices.Insert(old.Devices, i, id)
		}
	}
}

// devices reads both device trees and all mappings.
func (r *reader) devices(sb metadata.Superblock) {
	details := r.tree(sb.DetailsRoot, Details, metadata.DetailsSize, nil)
	for _, p := range details {
		for i := p.first; i < p.end; i++ {
			d := r.device(p.leaf.keys[i])
			d.Details, d.HasDetails = metadata.DecodeDetails(p.leaf.raw(i)), true
			r.free(p.leaf.keys[i], d.Details.TransactionID, uint64(d.Details.CreationTime)<<32|uint64(d.Details.SnapshottedTime))
			if d.Details.CreationTime > sb.Time || d.Details.SnapshottedTime > sb.Time {
				r.fact(tooHigh, p.leaf.keys[i], 1, 0)
			}
		}
	}
	for _, p := range r.tree(sb.MappingRoot, TopLevel, metadata.RootSize, nil) {
		for i := p.first; i < p.end; i++ {
			id := p.leaf.keys[i]
			d := r.device(id)
			d.HasTree = true
			d.parts = r.tree(block.Nr(p.leaf.values[i]), Mapping, metadata.MappingSize, &owner{metadata.DevID(id), p.leaf.nr})
			for _, p := range d.parts {
				d.Mapped += uint64(len(p.leaf.keys))
			}
		}
	}
}

func (r *reader) device(id uint64) *Device {
	d := r.out.Devices[metadata.DevID(id)]
	if d == nil {
		d = new(Device)
		r.out.Devices[metadata.DevID(id)] = d
	}
	return d
}

// compareTrees adds disagreements between the device trees to the facts.
func (r *reader) compareTrees() {
	for id, d := range r.out.Devices {
		switch {
		case !d.HasDetails:
			r.fact(countsOff, uint64(id), 1, 0)
		case !d.HasTree:
			r.fact(countsOff, uint64(id), 2, 0)
		case d.Details.MappedBlocks != d.Mapped:
			r.fact(countsOff, uint64(id), 3, d.Details.MappedBlocks-d.Mapped)
		}
	}
}
