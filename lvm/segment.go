package lvm

import (
	"fmt"
	"slices"
	"strings"

	"thinpool/internal/printable"
	"thinpool/lvm/internal/text"
)

// A Segment is a part of a logical volume.
type Segment struct {
	Start, Extents uint64
	Type           string   // without flags; linear volumes are "striped", too
	Flags          []string // the words after + in the type
	// Stripes are the parts with the content: stripes, mirror legs, or RAID images.
	Stripes    []Part
	Metas      []string // volumes with RAID superblocks, one per image
	StripeSize uint64   // sectors
	Copies     uint64   // of raid10; 0: not in the text
	RegionSize uint64   // sectors

	ThinPool *ThinPool // of a thin-pool
	Thin     *Thin     // of a thin volume
	Cache    *Cache    // of a cache or another volume with an origin below it

	Section *Section // all keys
}

// A Part is where a stripe starts: an extent of a physical volume or, if there is none of that
// name, of a logical volume.
type Part struct {
	Name  string
	First uint64
}

// below returns the names of everything the segment uses.
func (s *Segment) below() []string {
	var names []string
	for _, p := range s.Stripes {
		names = append(names, p.Name)
	}
	switch {
	case s.ThinPool != nil:
		names = append(names, s.ThinPool.Metadata, s.ThinPool.Data)
	case s.Thin != nil:
		names = append(names, s.Thin.Pool, s.Thin.ExternalOrigin)
	case s.Cache != nil:
		names = append(names, s.Cache.Origin)
	}
	return names
}

// A ThinPool is what LVM knows about a pool. The metadata superblock has a transaction id of its
// own.
type ThinPool struct {
	Metadata, Data string // names of volumes
	TransactionID  uint64
	ChunkSize      uint64 // sectors
	Discards       string // empty means ignore
	ZeroNewBlocks  bool
	CropMetadata   bool // LVM shows the kernel only the first 33161216 sectors of the metadata
	Messages       []Message
}

// A Message is a pending message to a pool, sent or not: create or delete a thin device.
type Message struct {
	Create string // volume name
	Delete uint64 // device id
}

func (m Message) String() string {
	if m.Create != "" {
		return "create " + m.Create
	}
	return fmt.Sprintf("delete %d", m.Delete)
}

// A Thin is a volume in a pool.
type Thin struct {
	Pool           string // volume name
	DeviceID       uint64
	TransactionID  uint64 // at creation
	Origin         string // what it is a snapshot of; may no longer exist
	ExternalOrigin string // read where it has no blocks
	Merge          string // the volume it will be merged into at the next activation
}

// A Cache is a volume on top of another one, its origin. Some of its content is elsewhere and may
// be newer or older.
type Cache struct {
	Origin string
	Pool   string
	Mode   string // of a cache; empty: not in the text
}

// typeFlags lists the known flags of segment types.
var typeFlags = []string{
	"RESHAPE", "RESHAPE_DATA_OFFSET", "RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE",
	"METADATA_FORMAT", "CROP_METADATA", "CACHE_USES_CACHEVOL",
}

// Limits set by the kernel.
const (
	mostDeviceID   = 1<<24 - 1
	leastChunk     = 128 // sectors
	mostChunk      = 2097152
	mostStripeSize = 1 << 31
)

// segment parses a segment. For an unknown type, it reads only the extents and the type.
func (g *Group) segment(sec *text.Section) (Segment, error) {
	f := fields{s: sec}
	f.need("start_extent", "extent_count", "type")
	s := Segment{Start: f.uint("start_extent"), Extents: f.uint("extent_count"), Section: sec}
	words := strings.Split(f.str("type"), "+")
	s.Type, s.Flags = words[0], words[1:]
	if f.err == nil && s.Extents == 0 {
		f.fail("extent_count", "a segment without extents")
	}
	switch s.Type {
	case "striped", "linear":
		f.parts(&s, "stripes", "stripe_count")
	case "mirror":
		f.parts(&s, "mirrors", "mirror_count")
	case "raid0":
		f.images(&s, "raid0_lvs", "stripe_count")
	case "raid0_meta":
		f.images(&s, "raids", "stripe_count")
	case "thin-pool":
		s.ThinPool = f.thinPool(&s)
	case "thin":
		s.Thin = f.thin()
	case "cache", "writecache", "integrity":
		s.Cache = f.cache(s.Type)
	default:
		if strings.HasPrefix(s.Type, "raid") {
			f.images(&s, "raids", "device_count")
		}
	}
	s.RegionSize = f.uint("region_size")
	return s, f.err
}

func (f *fields) stripeSize(s *Segment) {
	s.StripeSize = f.uint("stripe_size")
	if s.StripeSize > mostStripeSize {
		f.fail("stripe_size", "stripes of %d sectors", s.StripeSize)
	}
}

// parts parses a list of names and extents.
func (f *fields) parts(s *Segment, key, count string) {
	f.need(key, count)
	pairs, err := f.s.Pairs(key)
	f.keep(err)
	for _, p := range pairs {
		name := printable.Text(p.Name)
		if p.Number < 0 {
			f.fail(key, "extent %d of %s", p.Number, name)
		}
		s.Stripes = append(s.Stripes, Part{name, uint64(p.Number)})
	}
	f.count(s, key, count)
	f.stripeSize(s)
}

// images parses a list of RAID volumes. LVM lists images and superblock volumes alternately, and
// tells them apart by name.
func (f *fields) images(s *Segment, key, count string) {
	f.need(key, count)
	for _, name := range f.strings(key) {
		if strings.Contains(name, "_rmeta_") {
			s.Metas = append(s.Metas, name)
		} else {
			s.Stripes = append(s.Stripes, Part{Name: name})
		}
	}
	f.count(s, key, count)
	if key == "raids" && f.err == nil && len(s.Metas) != len(s.Stripes) {
		f.fail(key, "%d volumes with superblocks for %d images", len(s.Metas), len(s.Stripes))
	}
	f.stripeSize(s)
	s.Copies = f.uint("data_copies")
}

func (f *fields) count(s *Segment, key, count string) {
	if n := f.uint(count); f.err == nil && (n != uint64(len(s.Stripes)) || n == 0) {
		f.fail(count, "%s is %d, but %s has %d", count, n, key, len(s.Stripes))
	}
}

func (f *fields) thinPool(s *Segment) *ThinPool {
	f.need("metadata", "pool", "transaction_id", "chunk_size")
	p := &ThinPool{
		Metadata: f.str("metadata"), Data: f.str("pool"), TransactionID: f.uint("transaction_id"), ChunkSize: f.uint("chunk_size"),
		Discards: f.str("discards"), ZeroNewBlocks: f.uint("zero_new_blocks") != 0,
		CropMetadata: f.uint("crop_metadata") != 0 || slices.Contains(s.Flags, "CROP_METADATA"),
	}
	if p.ChunkSize < leastChunk || p.ChunkSize > mostChunk || p.ChunkSize%leastChunk != 0 {
		f.fail("chunk_size", "chunk_size is %d sectors, want a multiple of %d up to %d", p.ChunkSize, leastChunk, mostChunk)
	}
	for _, e := range f.s.Sections() {
		if !strings.HasPrefix(e.Key, "message") {
			continue
		}
		m := fields{s: e.Section}
		p.Messages = append(p.Messages, Message{Create: m.str("create"), Delete: m.uint("delete")})
		f.keep(m.err)
	}
	return p
}

func (f *fields) thin() *Thin {
	f.need("thin_pool", "transaction_id", "device_id")
	t := &Thin{
		Pool: f.str("thin_pool"), DeviceID: f.uint("device_id"), TransactionID: f.uint("transaction_id"),
		Origin: f.str("origin"), ExternalOrigin: f.str("external_origin"), Merge: f.str("merge"),
	}
	if t.DeviceID > mostDeviceID {
		f.fail("device_id", "device_id is %d, want at most %d", t.DeviceID, mostDeviceID)
	}
	return t
}

func (f *fields) cache(pool string) *Cache {
	f.need("origin")
	c := &Cache{Origin: f.str("origin"), Mode: f.str("cache_mode")}
	switch pool {
	case "cache":
		c.Pool = f.str("cache_pool")
	case "writecache":
		c.Pool = f.str("writecache")
	case "integrity":
		c.Pool, c.Mode = f.str("meta_dev"), f.str("mode")
	}
	return c
}
