package lvm

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"thinpool/disk"
	"thinpool/internal/raid"
	"thinpool/metadata/block"
)

// ReadOptions say how [Group.Open] reads a volume.
type ReadOptions struct {
	// Leg selects the leg of a mirror, the image of a raid1 set or the copy of a raid10 set to
	// read, counted from 1. Only that one is read, whatever its state. 0 chooses among those in
	// sync.
	Leg int
	// StaleOrigin allows reading the origin of a cache in writeback mode, of a writecache or of an
	// integrity volume, although newer data may be elsewhere.
	StaleOrigin bool
	// Same reads all copies of mirrors, raid1 and raid10 sets, and returns [ErrDiffer] where they
	// differ.
	Same bool
}

// A Reader reads the content of a logical volume. It is safe for concurrent use.
type Reader struct {
	g     *Group
	v     *Volume
	root  source
	same  bool // see ReadOptions
	disks []*disk.Disk
	// Notes say what users should know about the content.
	Notes []string
}

// Open returns a Reader of a volume of g. The error names the volume and what cannot be read. A
// missing disk is not an error here: reading from it returns a [MissingError].
func (g *Group) Open(v *Volume, opt ReadOptions) (*Reader, error) {
	b := newBuilder(g, opt)
	root, _, err := b.volume(v, 0)
	if err != nil {
		return nil, fmt.Errorf("%s/%w", g.Name, err)
	}
	return &Reader{g, v, root, opt.Same, b.disks, b.notes}, nil
}

func (r *Reader) readAt(p []byte, off int64) error {
	if r.same {
		return readSame(r.root, p, off)
	}
	return r.root.readAt(p, off)
}

// Size returns the size of the volume in bytes.
func (r *Reader) Size() int64 { return r.v.Size }

// ReadAt implements [io.ReaderAt]. The error names the volume, the first unreadable byte and the
// reason. Everything before that byte is read.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= r.v.Size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > r.v.Size-off {
		p, end = p[:r.v.Size-off], io.EOF
	}
	if err := r.readAt(p, off); err != nil {
		n, err := r.prefix(p, off)
		return n, err
	}
	return len(p), end
}

// prefix reads as much of p as possible, sector by sector.
func (r *Reader) prefix(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		n := min(len(p)-done, int(sector-at%sector))
		if err := r.readAt(p[done:done+n], at); err != nil {
			return done, r.g.readError(r.v, at, err)
		}
		done += n
	}
	return len(p), nil // this time it could be read
}

// readError adds the position in the volume to a read error.
func (g *Group) readError(v *Volume, at int64, err error) error {
	if m, ok := errors.AsType[*MissingError](err); ok && err == error(m) {
		return fmt.Errorf("%w: %s/%s needs it from byte %d on", err, g.Name, v.Name, at)
	}
	return fmt.Errorf("%s/%s, byte %d: %w", g.Name, v.Name, at, err)
}

// Device returns the volume as a read-only device.
func (r *Reader) Device() block.Device { return block.ReadOnly(r, r.v.Size) }

// Limits on stacked volumes. LVM stacks a few.
const (
	mostDepth     = 16
	mostRedundant = 2 // nested sets with copies or parity: each multiplies the cost of a read
)

// A builder builds the tree of sources of a volume. Each volume is built once, even if several
// others use it.
type builder struct {
	g      *Group
	opt    ReadOptions
	write  bool
	made   map[*Volume]built
	making map[*Volume]bool
	disks  []*disk.Disk
	notes  []string
	supers *builder // reads superblocks of RAID sets, whatever the options of this builder
	// missing says why a part of the tree is unusable; nil if everything is there.
	missing error
}

// A built source is a part of the tree, with its depth in volumes and in nested sets with copies or
// parity.
type built struct {
	source           source
	height, multiple int
}

func newBuilder(g *Group, opt ReadOptions) *builder {
	b := &builder{g: g, opt: opt, made: map[*Volume]built{}, making: map[*Volume]bool{}}
	b.supers = &builder{g: g, made: map[*Volume]built{}, making: map[*Volume]bool{}}
	b.supers.supers = b.supers
	return b
}

func (b *builder) note(format string, args ...any) {
	const most = 100
	if text := fmt.Sprintf(format, args...); len(b.notes) < most && !slices.Contains(b.notes, text) {
		b.notes = append(b.notes, text)
	}
}

// volume builds the source of a volume, depth volumes below the one that is opened.
func (b *builder) volume(v *Volume, depth int) (source, built, error) {
	if done, ok := b.made[v]; ok {
		return done.source, done, nil
	}
	switch {
	case b.making[v]:
		return nil, built{}, fmt.Errorf("%s: it is stacked on itself", v.Name)
	case depth >= mostDepth:
		return nil, built{}, fmt.Errorf("%s: more than %d volumes are stacked", v.Name, mostDepth)
	}
	b.making[v] = true
	defer delete(b.making, v)
	j := &joint{name: v.Name}
	result := built{source: j}
	end := int64(0)
	for i := range v.Segments {
		s := &v.Segments[i]
		src, below, err := b.segment(v, s, depth)
		if err != nil {
			return nil, built{}, err
		}
		end += int64(s.Extents) * b.g.extentBytes()
		j.segments, j.ends = append(j.segments, src), append(j.ends, end)
		result.height, result.multiple = max(result.height, below.height), max(result.multiple, below.multiple)
	}
	if result.height++; result.height > mostDepth || result.multiple > mostRedundant {
		return nil, built{}, fmt.Errorf("%s: too many volumes are stacked", v.Name)
	}
	b.made[v] = result
	return j, result, nil
}

// notReadable says why segments of a type have no readable content.
var notReadable = map[string]string{
	"thin":       "its content is read through its pool",
	"thin-pool":  "a pool has no content of its own; use its metadata or data volume",
	"cache-pool": "a cache pool has no content of its own",
	"snapshot":   "a classic copy-on-write snapshot cannot be read, but its origin can",
	"vdo":        "VDO content cannot be read",
	"vdo-pool":   "VDO content cannot be read",
	"crypt":      "encrypted content cannot be read",
	// QNAP's additions to LVM. The metadata of such a pool is in a volume of its own.
	"tier-thin-pool": "this is QNAP's own kind of pool, in which data moves between disks: only a NAS of QNAP can read it",
	"thick":          "this is QNAP's own kind of volume, in a pool of its own: only a NAS of QNAP can read it",
	"flashcache":     "this is QNAP's own kind of cache: only a NAS of QNAP can read it",
}

// segment builds the source of a segment.
func (b *builder) segment(v *Volume, s *Segment, depth int) (source, built, error) {
	refuse := func(format string, args ...any) (source, built, error) {
		return nil, built{}, fmt.Errorf("%s: segment type %s: %s", v.Name, s.Type, fmt.Sprintf(format, args...))
	}
	for _, flag := range s.Flags {
		switch {
		case !slices.Contains(typeFlags, flag):
			return refuse("unknown flag %s", flag)
		case flag != "METADATA_FORMAT" && flag != "CACHE_USES_CACHEVOL" && flag != "CROP_METADATA":
			return refuse("a reshape is in progress (%s)", flag)
		}
	}
	for _, key := range []string{"data_offset", "delta_disks", "reshape_len", "reshape_count"} {
		if s.Section.Get(key) != nil {
			return refuse("a reshape is or was in progress (%s)", key)
		}
	}
	if b.write && !slices.Contains(writable, s.Type) {
		return refuse("only %v can be written", writable)
	}
	var src source
	var below built
	var err error
	switch s.Type {
	case "striped", "linear", "raid0", "raid0_meta":
		src, below, err = b.striped(v, s, depth)
	case "mirror":
		src, below, err = b.mirror(v, s, depth)
	case "cache", "writecache", "integrity":
		src, below, err = b.origin(v, s, depth)
	case "zero":
		src = zeros{}
	case "error":
		src = lost{errors.New("a segment of type error")}
	default:
		switch reason, known := notReadable[s.Type]; {
		case known:
			return refuse("%s", reason)
		case s.Type == "raid1", s.Type == "raid10", s.Type == "raid10_near", raid.Parity(s.Type):
			src, below, err = b.raid(v, s, depth)
		default:
			return refuse("it is not known")
		}
	}
	return src, below, err
}

// parts builds the sources of all parts of a segment. Each part has the given number of extents.
func (b *builder) parts(v *Volume, s *Segment, extents uint64, depth int) ([]source, built, error) {
	var sources []source
	var all built
	for _, p := range s.Stripes {
		src, below, err := b.part(v, p, extents, depth)
		if err != nil {
			return nil, built{}, err
		}
		sources = append(sources, src)
		all.height, all.multiple = max(all.height, below.height), max(all.multiple, below.multiple)
	}
	return sources, all, nil
}

// part builds the source of a part: a physical volume or another volume.
func (b *builder) part(v *Volume, p Part, extents uint64, depth int) (source, built, error) {
	base := func(have uint64) (int64, error) {
		if p.First > have || extents > have-p.First {
			return 0, fmt.Errorf("%s: it needs extents %d..%d of %s, which has %d", v.Name, p.First, p.First+extents, p.Name, have)
		}
		return int64(p.First) * b.g.extentBytes(), nil
	}
	if pv := b.g.PV(p.Name); pv != nil {
		at, err := base(pv.Extents)
		if err != nil {
			return nil, built{}, err
		}
		return b.onPhysicalVolume(pv, at), built{}, nil
	}
	lv := b.g.Volume(p.Name)
	if lv == nil {
		return nil, built{}, fmt.Errorf("%s: it uses %q, which does not exist", v.Name, p.Name)
	}
	at, err := base(lv.Extents)
	if err != nil {
		return nil, built{}, err
	}
	src, below, err := b.volume(lv, depth+1)
	if err != nil {
		return nil, built{}, fmt.Errorf("%s: %w", v.Name, err)
	}
	if at > 0 {
		src = shifted{src, at}
	}
	return src, below, nil
}

// onPhysicalVolume returns a physical volume as a source that starts at byte at of its extents.
func (b *builder) onPhysicalVolume(pv *PhysicalVolume, at int64) source {
	switch {
	case len(pv.Twice) > 0:
		b.missing = &MissingError{pv, "was found more than once (" + joined(pv.Twice) + "): leave out all but one"}
		return lost{b.missing}
	case pv.Disk == nil:
		b.missing = &MissingError{pv, "is missing"}
		return lost{b.missing}
	case pv.Missing() && b.write:
		b.missing = &MissingError{pv, "is marked as missing by LVM"}
		return lost{b.missing}
	}
	if on := pv.Disk.On; !slices.Contains(b.disks, on) {
		b.disks = append(b.disks, on)
	}
	return onDisk{pv.Disk.On, int64(pv.Start)*sector + at}
}

// striped builds the source of one or more stripes.
func (b *builder) striped(v *Volume, s *Segment, depth int) (source, built, error) {
	n := uint64(len(s.Stripes))
	sources, below, err := b.parts(v, s, (s.Extents+n-1)/n, depth)
	switch {
	case err != nil:
		return nil, built{}, err
	case n == 1:
		return sources[0], below, nil
	}
	layout, err := raid.New("striped", len(sources), int64(s.StripeSize)*sector, 1)
	if err != nil {
		return nil, built{}, fmt.Errorf("%s: %w", v.Name, err)
	}
	return &set{layout: layout, devs: sources}, below, nil
}

// origin builds the source of a volume on top of an origin, such as a cache.
func (b *builder) origin(v *Volume, s *Segment, depth int) (source, built, error) {
	what, doubt := s.Type, true
	if s.Type == "cache" {
		mode := s.Cache.Mode
		if pool := b.g.Volume(s.Cache.Pool); mode == "" && pool != nil {
			for _, below := range pool.Segments {
				if below.Type == "cache-pool" {
					mode = (&fields{s: below.Section}).str("cache_mode")
				}
			}
		}
		if mode == "" {
			mode = "unknown"
		}
		what, doubt = "dm-cache in "+mode+" mode", mode != "writethrough" && mode != "passthrough"
	}
	if doubt {
		if !b.opt.StaleOrigin {
			return nil, built{}, fmt.Errorf("%s: %s: the origin, %s, may be stale", v.Name, what, s.Cache.Origin)
		}
		b.note("%s: %s: the origin is read, which may be stale", v.Name, what)
	}
	return b.part(v, Part{Name: s.Cache.Origin}, s.Extents, depth)
}
