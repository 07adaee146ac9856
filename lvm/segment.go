package lvm

import (
	"fmt"
	"slices"
	"strings"

	"thinpool/internal/printable"
	"thinpool/lvm/internal/text"
)

// A Segment is a stretch of a logical volume.
type Segment struct {
	Start, Extents uint64
	Type           string   // without flags; linear volumes are "striped", too
	Flags          []string // what follows + in the type
	// Stripes are the parts that the content lies on: stripes, or the legs of a mirror, or the
	// images of a RAID set.
	Stripes    []Part
	Metas      []string // volumes with the superblocks of a RAID set, one for each image
	StripeSize uint64   // sectors
	Copies     uint64   // of raid10; 0 if the text does not say
	RegionSize uint64   // sectors

	ThinPool *ThinPool // of a thin-pool
	Thin     *Thin     // of a thin volume
	Cache    *Cache    // of a cache and other volumes with an origin below them

	Section *Section // all keys
}

// A Part is where a stripe begins: an extent of a physical or logical volume, which are
// looked up in this order.
type Part struct {
	Name  string
	First uint64
}

// below are the names of what the segment lies on.
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

// A ThinPool is what LVM knows about a pool. The metadata superblock has a transaction id of
// its own.
type ThinPool struct {
	Metadata, Data string // names of volumes
	TransactionID  uint64
	ChunkSize      uint64 // sectors
	Discards       string // empty means ignore
	ZeroNewBlocks  bool
	CropMetadata   bool // LVM shows the kernel only the first 33161216 sectors of the metadata
	Messages       []Message
}

// A Message is one that LVM is going to send to a pool, or has sent: the creation or the
// deletion of a thin device.
type Message struct {
	Create string // name of a volume
	Delete uint64 // id of a device
}

func (m Message) String() string {
	if m.Create != "" {
		return "create " + m.Create
	}
	return fmt.Sprintf("delete %d", m.Delete)
}

// A Thin is a volume in a pool.
type Thin struct {
	Pool           string // names of volumes
	DeviceID       uint64
	TransactionID  uint64 // at its creation
	Origin         string // what it was a snapshot of; that may be gone
	ExternalOrigin string // what it shows where it has no blocks
	Merge          string // what it is to become when that is activated next
}

// A Cache is a volume whose content lies on another one, its origin, and is in part newer or
// older elsewhere.
type Cache struct {
	Origin string
	Pool   string
	Mode   string // of a cache; empty if the text does not say
}

// typeFlags are those that segment types may have.
var typeFlags = []string{
	"RESHAPE", "RESHAPE_DATA_OFFSET", "RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS", "REMOVE_AFTER_RESHAPE",
	"METADATA_FORMAT", "CROP_METADATA", "CACHE_USES_CACHEVOL",
}

// Limits of the kernel.
const (
	mostDeviceID   = 1<<24 - 1
	leastChunk     = 128 // sectors
	mostChunk      = 2097152
	mostStripeSize = 1 << 31
)

// segment reads what is known about the segment of a type. Of a type that is not known it
// is the extents and the type.
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

// parts takes a list of names and extents.
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

// images takes a list of volumes: images, and between them those with superblocks, which
// LVM tells by their names.
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
