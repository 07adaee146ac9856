package metadata

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata/block"
)

// Options say which part of the metadata [Open] shows.
type Options struct {
	// Snapshot selects the metadata snapshot instead of the live metadata. It is the only part that
	// may be read while the kernel uses the pool.
	Snapshot bool
	// SnapshotBlock, if not 0, is the block the snapshot must be in.
	SnapshotBlock block.Nr
	// MappingRoot and DetailsRoot, if not 0, replace the superblock's roots.
	MappingRoot, DetailsRoot block.Nr
	Parallel                 int // reads in flight; 0: one per processor
}

// A Pool is the metadata of a pool, open for reading. It is safe for concurrent use.
type Pool struct {
	// Superblock is the superblock used to read the pool: block 0 or the snapshot's, with the roots
	// replaced by those in Options.
	Superblock Superblock
	// Live is block 0. The snapshot's copy has no space maps.
	Live Superblock

	r     *block.Reader
	limit block.Nr // of block numbers
}

// A Device is a thin device of a pool.
type Device struct {
	ID DevID
	Details
	Root block.Nr // of its mappings
}

// Errors of [Open] and [Pool.Device].
var (
	ErrNoSnapshot  = errors.New("the pool has no metadata snapshot")
	ErrNoDevice    = errors.New("no such device")
	ErrUnformatted = errors.New("never formatted: block 0 is all zero")
)

// mostBlocks limits what a damaged superblock can make a reader allocate, as the device may be a
// huge sparse file. It is above the maximum for metadata, because a view of repaired metadata has
// its new blocks there.
const mostBlocks = 2 * spacemap.MaxMetadata

// Open reads the superblock of the metadata on dev. If it is damaged, the error wraps
// [block.ErrCorrupt].
func Open(dev block.Device, opt Options) (*Pool, error) {
	p := &Pool{r: block.NewReader(dev, opt.Parallel)}
	var b block.Data
	if err := p.r.Read(SuperblockLocation, &b); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	if b == (block.Data{}) {
		return nil, ErrUnformatted
	}
	var err error
	if p.Live, err = DecodeSuperblock(SuperblockLocation, &b); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	p.limit = block.Nr(min(p.Live.MetadataSpaceMap.NrBlocks, mostBlocks))
	p.Superblock = p.Live
	if opt.Snapshot {
		if p.Superblock, err = p.snapshot(opt.SnapshotBlock); err != nil {
			return nil, err
		}
	}
	if opt.MappingRoot != 0 {
		p.Superblock.MappingRoot = opt.MappingRoot
	}
	if opt.DetailsRoot != 0 {
		p.Superblock.DetailsRoot = opt.DetailsRoot
	}
	return p, nil
}

// snapshot reads the superblock of the metadata snapshot.
func (p *Pool) snapshot(want block.Nr) (Superblock, error) {
	held := p.Live.HeldRoot
	switch {
	case held == 0:
		return Superblock{}, ErrNoSnapshot
	case want != 0 && want != held:
		return Superblock{}, fmt.Errorf("the metadata snapshot is in block %d, not %d", held, want)
	}
	var b block.Data
	err := p.r.Read(held, &b)
	var sb Superblock
	if err == nil {
		sb, err = DecodeSuperblock(held, &b)
	}
	if err != nil {
		return Superblock{}, fmt.Errorf("metadata snapshot: %w", err)
	}
	return sb, nil
}

// ErrReleased says that a metadata snapshot was released while it was being read.
var ErrReleased = errors.New("the metadata snapshot was released while it was read: the output may be wrong")

// CheckSnapshotHeld returns an error if the metadata snapshot that p shows is gone. Call it after
// reading a pool that is in use. For a pool opened without a snapshot it does nothing.
func (p *Pool) CheckSnapshotHeld() error {
	if p.Superblock.Block == SuperblockLocation {
		return nil
	}
	var b block.Data
	if err := p.r.Read(SuperblockLocation, &b); err != nil {
		return fmt.Errorf("superblock: %w", err)
	}
	if now, err := DecodeSuperblock(SuperblockLocation, &b); err != nil || now.HeldRoot != p.Superblock.Block {
		return ErrReleased
	}
	return nil
}

// Blocks returns the metadata blocks that make up p's devices, ascending: block 0, the superblock
// that p shows, and all nodes of their trees, but not the space maps. The blocks of a metadata
// snapshot do not change while it is held.
func (p *Pool) Blocks(ctx context.Context) ([]block.Nr, error) {
	all := []block.Nr{SuperblockLocation, p.Superblock.Block}
	add := func(valueSize int, roots ...block.Nr) error {
		f, err := btree.Load(ctx, p.r, p.limit, valueSize, roots...)
		all = append(all, roots...)
		for _, n := range f.Inner() {
			all = append(all, n.Children...)
		}
		return err
	}
	var roots []block.Nr
	for d, err := range p.Devices(ctx) {
		if err != nil {
			return nil, err
		}
		roots = append(roots, d.Root)
	}
	if err := add(RootSize, p.Superblock.MappingRoot); err != nil {
		return nil, err
	}
	if err := add(DetailsSize, p.Superblock.DetailsRoot); err != nil {
		return nil, err
	}
	if err := add(MappingSize, roots...); err != nil {
		return nil, err
	}
	slices.Sort(all)
	all = slices.Compact(all)
	beyond, _ := slices.BinarySearch(all, p.limit) // only damage leads there
	return all[:beyond], nil
}

// Reader returns the reader of the pool's blocks.
func (p *Pool) Reader() *block.Reader { return p.r }

// Limit returns the first block number beyond the metadata.
func (p *Pool) Limit() block.Nr { return p.limit }

// Devices yields the thin devices by ascending id. An error comes last, once. It is an error if
// the device details and the mapping tree name different devices.
func (p *Pool) Devices(ctx context.Context) iter.Seq2[Device, error] {
	return func(yield func(Device, error) bool) {
		tree := func(root block.Nr, size int) (func() (btree.Entry, error, bool), func()) {
			return iter.Pull2(btree.LeafValues(ctx, p.r, p.limit, root, size))
		}
		nextRoot, stop := tree(p.Superblock.MappingRoot, RootSize)
		defer stop()
		nextDetails, stop := tree(p.Superblock.DetailsRoot, DetailsSize)
		defer stop()
		for {
			root, err, more := nextRoot()
			if err != nil {
				yield(Device{}, fmt.Errorf("mapping tree, top level: %w", err))
				return
			}
			details, err, moreDetails := nextDetails()
			if err != nil {
				yield(Device{}, fmt.Errorf("device details: %w", err))
				return
			}
			switch {
			case !more && !moreDetails:
				return
			case !moreDetails || more && root.Key < details.Key:
				yield(Device{}, &MismatchError{DevID(root.Key), "mappings", "details"})
				return
			case !more || details.Key < root.Key:
				yield(Device{}, &MismatchError{DevID(details.Key), "details", "mappings"})
				return
			}
			d := Device{DevID(root.Key), DecodeDetails(details.Value), block.Nr(le.Uint64(root.Value))}
			if !yield(d, nil) {
				return
			}
		}
	}
}

// A MismatchError says that the two trees name different devices.
type MismatchError struct {
	ID         DevID
	Has, Lacks string
}

func (e *MismatchError) Error() string { return e.Named("") }

// Named is like Error, for a device with the given user name.
func (e *MismatchError) Named(name string) string {
	return fmt.Sprintf("%s has %s but no %s", Label(e.ID, name), e.Has, e.Lacks)
}

// DevID returns the device that the error is about.
func (e *MismatchError) DevID() DevID { return e.ID }

// Unwrap makes a MismatchError a [block.ErrCorrupt].
func (e *MismatchError) Unwrap() error { return block.ErrCorrupt }

// Device looks up one device and reads no more than it must. The error is [ErrNoDevice] if the
// pool has no device with that id.
func (p *Pool) Device(id DevID) (Device, error) {
	root, hasRoot, err := btree.Lookup(p.r, p.limit, p.Superblock.MappingRoot, RootSize, uint64(id))
	if err != nil {
		return Device{}, fmt.Errorf("mapping tree, top level: %w", err)
	}
	details, hasDetails, err := btree.Lookup(p.r, p.limit, p.Superblock.DetailsRoot, DetailsSize, uint64(id))
	switch {
	case err != nil:
		return Device{}, fmt.Errorf("device details: %w", err)
	case !hasRoot && !hasDetails:
		return Device{}, &DeviceError{id, ErrNoDevice}
	case !hasRoot:
		return Device{}, &MismatchError{id, "details", "mappings"}
	case !hasDetails:
		return Device{}, &MismatchError{id, "mappings", "details"}
	}
	return Device{id, DecodeDetails(details), block.Nr(le.Uint64(root))}, nil
}

// MappingTree looks up the mapping tree of a device, without its details. The error is
// [ErrNoDevice] if the pool has no device with that id.
func (p *Pool) MappingTree(id DevID) (MappingTree, error) {
	root, ok, err := btree.Lookup(p.r, p.limit, p.Superblock.MappingRoot, RootSize, uint64(id))
	switch {
	case err != nil:
		return MappingTree{}, &DeviceError{id, fmt.Errorf("mapping tree, top level: %w", err)}
	case !ok:
		return MappingTree{}, &DeviceError{id, ErrNoDevice}
	}
	return MappingTree{ID: id, Root: block.Nr(le.Uint64(root))}, nil
}

// MappingTreeAt returns the mapping tree with its root in block root, which may belong to a device
// or be left over from an earlier transaction. It returns an error if there is no such tree.
func (p *Pool) MappingTreeAt(root block.Nr) (MappingTree, error) {
	var b block.Data
	err := error(&btree.PointerError{Child: uint64(root), Limit: p.limit})
	if root > 0 && root < p.limit {
		err = p.r.Read(root, &b)
	}
	if err == nil {
		_, err = btree.Decode(root, &b, MappingSize)
	}
	if err != nil {
		return MappingTree{}, fmt.Errorf("no mapping tree has its root in block %d: %w", root, err)
	}
	return MappingTree{Root: root, ByRoot: true}, nil
}

// Lookup finds the data block of thin block b of d and the time it was mapped; false if it is not
// mapped.
func (p *Pool) Lookup(d Device, b ThinBlock) (data DataBlock, time uint32, ok bool, err error) {
	v, ok, err := btree.Lookup(p.r, p.limit, d.Root, MappingSize, uint64(b))
	if err != nil || !ok {
		return 0, 0, false, deviceError(d.ID, err)
	}
	data, time = UnpackMapping(le.Uint64(v))
	return data, time, true, nil
}

// Highest finds the highest mapped thin block of d; false if nothing is mapped.
func (p *Pool) Highest(d Device) (ThinBlock, bool, error) {
	key, ok, err := btree.Last(p.r, p.limit, d.Root, MappingSize)
	return ThinBlock(key), ok, deviceError(d.ID, err)
}

// Runs yields the mappings of d as maximal runs, by ascending thin block. An error comes last,
// once; the runs before it are good.
func (p *Pool) Runs(ctx context.Context, d Device) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		m, err := p.Mappings(ctx, d)
		if err != nil {
			yield(Run{}, err)
			return
		}
		var pending Run
		stopped := errors.New("stopped")
		err = m.Stream(ctx, m.Steps(d), func(_ *Step, runs []Run) error {
			for _, r := range runs {
				switch {
				case pending.Len == 0:
					pending = r
				case r.Continues(pending):
					pending.Len += r.Len
				default:
					if !yield(pending, nil) {
						return stopped
					}
					pending = r
				}
			}
			return nil
		})
		if err == stopped || pending.Len > 0 && !yield(pending, nil) {
			return
		}
		if err != nil {
			yield(Run{}, err)
		}
	}
}

// deviceError adds the device to an error.
func deviceError(id DevID, err error) error {
	if err == nil {
		return nil
	}
	return &DeviceError{id, err}
}
