package view

import (
	"bufio"
	"io"
	"slices"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/lvmreport"
	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/ls"
)

// The records of thin_volumes in JSON. Sizes are in bytes unless the name says blocks. Offsets are
// in bytes, times in seconds since 1970.

// imageRecord is where a physical volume was found.
type imageRecord struct {
	Image     string   `json:"image"`
	Backing   []string `json:"backing,omitempty"` // backing files, each of the file before it
	Layers    []string `json:"layers,omitempty"`  // path from the image to the volume group, outermost first
	Members   []string `json:"members,omitempty"` // members found of the innermost array on that path
	Partition string   `json:"partition,omitempty"`
	Start     int64    `json:"start"` // in the image, or in the device the last layer (not counting partitions) provides
}

// layers returns the path from an image to a volume group, which comes last if its name is known. It
// is empty if the physical volume is the whole image.
func layers(d *lvm.Disk, group string) []string {
	way := d.On.Layers()
	if len(way) > 0 && group != "" {
		way = append(way, group)
	}
	return way
}

func imageOf(d *lvm.Disk, group string) imageRecord {
	img := d.On.Image()
	rec := imageRecord{img.Name, img.Backing, layers(d, group), nil, d.On.Partition, d.On.Start()}
	if array := d.On.Array(); array != nil {
		for _, m := range array.Members {
			rec.Members = append(rec.Members, m.String())
		}
	}
	return rec
}

type pvRecord struct {
	Type string `json:"type"` // "pv"
	ID   string `json:"id"`
	*imageRecord
	LabelSector *int         `json:"label_sector,omitempty"`
	Seqno       *uint64      `json:"seqno,omitempty"` // of the text on the PV
	Areas       []areaRecord `json:"areas"`
	*knownRecord
	Problems []lvmreport.Problem `json:"problems"`
}

// knownRecord is what a group's text says about a physical volume.
type knownRecord struct {
	VG          string         `json:"vg"`
	VGID        string         `json:"vg_id"`
	Name        string         `json:"name"`
	Device      string         `json:"device"`
	DeviceID    string         `json:"device_id,omitempty"`
	DeviceSize  uint64         `json:"device_size"`
	Size        uint64         `json:"size"`
	PEStart     uint64         `json:"pe_start"`
	Extents     uint64         `json:"extents"`
	UsedExtents uint64         `json:"used_extents"`
	FreeExtents uint64         `json:"free_extents"`
	Status      []string       `json:"status"`
	Flags       []string       `json:"flags"`
	Tags        []string       `json:"tags"`
	Other       map[string]any `json:"other,omitempty"`
}

type areaRecord struct {
	Offset      uint64 `json:"offset"`
	Size        uint64 `json:"size"`
	Ignored     bool   `json:"ignored"`
	Interrupted bool   `json:"interrupted"`
	TextOffset  uint64 `json:"text_offset"` // in the area
	TextSize    uint64 `json:"text_size"`
	VGID        string `json:"vg_id,omitempty"`
	Seqno       uint64 `json:"seqno,omitempty"`
	Error       string `json:"error,omitempty"`
}

type vgRecord struct {
	Type             string         `json:"type"` // "vg"
	Name             string         `json:"name"`
	ID               string         `json:"id"`
	Seqno            uint64         `json:"seqno"`
	Format           string         `json:"format"`
	Status           []string       `json:"status"`
	Flags            []string       `json:"flags"`
	Tags             []string       `json:"tags"`
	ExtentSize       uint64         `json:"extent_size"`
	Extents          uint64         `json:"extents"`
	FreeExtents      uint64         `json:"free_extents"`
	PVs              int            `json:"pvs"`
	MissingPVs       int            `json:"missing_pvs"`
	LVs              int            `json:"lvs"`
	MaxLV            uint64         `json:"max_lv"`
	MaxPV            uint64         `json:"max_pv"`
	MetadataCopies   uint64         `json:"metadata_copies"`
	SystemID         string         `json:"system_id,omitempty"`
	LockType         string         `json:"lock_type,omitempty"`
	AllocationPolicy string         `json:"allocation_policy,omitempty"`
	Profile          string         `json:"profile,omitempty"`
	Description      string         `json:"description"`
	CreationHost     string         `json:"creation_host"`
	CreationTime     int64          `json:"creation_time"`
	Other            map[string]any `json:"other,omitempty"`
}

type lvRecord struct {
	Type         string          `json:"type"` // "lv"
	VG           string          `json:"vg"`
	VGID         string          `json:"vg_id"`
	Name         string          `json:"name"`
	ID           string          `json:"id"`
	Visible      bool            `json:"visible"`
	Segtype      string          `json:"segtype"`
	Size         int64           `json:"size"`
	Extents      uint64          `json:"extents"`
	Status       []string        `json:"status"`
	Flags        []string        `json:"flags"`
	Tags         []string        `json:"tags"`
	Partial      bool            `json:"partial"`
	CreationHost string          `json:"creation_host,omitempty"`
	CreationTime int64           `json:"creation_time,omitempty"`
	Segments     []segmentRecord `json:"segments"`
	ThinPool     *poolRecord     `json:"thin_pool,omitempty"`
	Thin         *thinRecord     `json:"thin,omitempty"`
	Other        map[string]any  `json:"other,omitempty"`
}

type segmentRecord struct {
	Start      uint64         `json:"start_extent"`
	Extents    uint64         `json:"extents"`
	Type       string         `json:"type"`
	Flags      []string       `json:"flags"`
	StripeSize uint64         `json:"stripe_size,omitempty"`
	Devices    []partRecord   `json:"devices"`
	Keys       map[string]any `json:"keys"`
}

// partRecord has either pv or lv.
type partRecord struct {
	PV     string `json:"pv,omitempty"`
	LV     string `json:"lv,omitempty"`
	Extent uint64 `json:"extent"`
}

type poolRecord struct {
	Metadata      string            `json:"metadata"`
	Data          string            `json:"data"`
	ChunkSize     uint64            `json:"chunk_size"`
	TransactionID uint64            `json:"transaction_id"`
	Discards      string            `json:"discards"`
	ZeroNewBlocks bool              `json:"zero_new_blocks"`
	CropMetadata  bool              `json:"crop_metadata"`
	Messages      []messageRecord   `json:"messages"`
	Superblock    *superblockRecord `json:"superblock,omitempty"`
	Error         string            `json:"error,omitempty"`
}

// messageRecord has one of the two fields.
type messageRecord struct {
	Create string `json:"create,omitempty"`
	Delete uint64 `json:"delete,omitempty"`
}

type superblockRecord struct {
	Transaction        uint64            `json:"transaction_id"`
	Time               uint32            `json:"time"`
	NeedsCheck         bool              `json:"needs_check"`
	HeldRoot           block.Nr          `json:"held_root"`
	DataBlockSize      uint32            `json:"data_block_size"` // sectors
	DataBlocks         uint64            `json:"data_blocks"`
	DataUsedBlocks     uint64            `json:"data_used_blocks"`
	DataPercent        lvmreport.Percent `json:"data_percent"`
	MetadataBlocks     uint64            `json:"metadata_blocks"`
	MetadataUsedBlocks uint64            `json:"metadata_used_blocks"`
	ReservedBlocks     uint64            `json:"metadata_reserved_blocks"`
	MetadataPercent    lvmreport.Percent `json:"metadata_percent"`
}

type thinRecord struct {
	Pool           string        `json:"pool"`
	DeviceID       uint64        `json:"dev_id"`
	TransactionID  uint64        `json:"transaction_id"`
	Origin         string        `json:"origin,omitempty"`
	ExternalOrigin string        `json:"external_origin,omitempty"`
	Merge          string        `json:"merge,omitempty"`
	Device         *mappedRecord `json:"device,omitempty"`
}

// mappedRecord is what the metadata says about a device.
type mappedRecord struct {
	DevID           metadata.DevID     `json:"dev_id"`
	MappedBlocks    uint64             `json:"mapped_blocks"`
	ExclusiveBlocks *uint64            `json:"exclusive_blocks,omitempty"`
	SharedBlocks    *uint64            `json:"shared_blocks,omitempty"`
	Transaction     uint64             `json:"transaction_id"`
	CreationTime    uint32             `json:"creation_time"`
	SnapTime        uint32             `json:"snap_time"`
	DataPercent     *lvmreport.Percent `json:"data_percent,omitempty"`
}

// unknownRecord is a device without a volume in LVM.
type unknownRecord struct {
	Type string `json:"type"` // "device"
	VG   string `json:"vg"`
	VGID string `json:"vg_id"`
	Pool string `json:"pool"`
	mappedRecord
}

// differenceRecord is a mismatch between LVM and the metadata of a pool.
type differenceRecord struct {
	lvmRecord
	VG   string `json:"vg"`
	VGID string `json:"vg_id"`
	Pool string `json:"pool"`
}

type problemRecord struct {
	Type    string `json:"type"` // "problem"
	Note    bool   `json:"note"`
	Message string `json:"message"`
}

// JSON writes one record per line.
func (a *Volumes) JSON(w io.Writer) error {
	out := bufio.NewWriter(w)
	enc := NewEncoder(out)
	var err error
	line := func(record any) {
		if err == nil {
			err = enc.Encode(record)
		}
	}
	for _, pv := range a.PVs {
		line(pvRecordOf(pv))
	}
	for _, g := range a.Groups {
		line(a.vgRecord(g))
	}
	for i := range a.Rows {
		line(a.Rows[i].record())
	}
	for _, r := range a.pools() {
		for _, d := range r.Pool.Differs {
			line(differenceRecord{lvmRecord{"lvm", d.Code, d.Refused, d.Text, d.Fix}, r.Group.Name, r.Group.ID, r.Volume.Name})
		}
	}
	for _, p := range a.Problems {
		line(problemRecord{"problem", p.Note, p.Text})
	}
	line(a.endRecord())
	if err != nil {
		return err
	}
	return out.Flush()
}

// volumesEndRecord is the last line: the number of objects of each type.
type volumesEndRecord struct {
	Type     string `json:"type"` // "summary"
	PVs      int    `json:"pvs"`
	VGs      int    `json:"vgs"`
	LVs      int    `json:"lvs"`
	Devices  int    `json:"devices"`
	LVM      int    `json:"lvm"`
	Problems int    `json:"problems"`
}

func (a *Volumes) endRecord() volumesEndRecord {
	rec := volumesEndRecord{Type: "summary", PVs: len(a.PVs), VGs: len(a.Groups), Problems: len(a.Problems)}
	for i := range a.Rows {
		if a.Rows[i].Volume == nil {
			rec.Devices++
		} else {
			rec.LVs++
		}
	}
	for _, r := range a.pools() {
		rec.LVM += len(r.Pool.Differs)
	}
	return rec
}

func pvRecordOf(pv lvmreport.PV) pvRecord {
	rec := pvRecord{Type: "pv", Areas: []areaRecord{}, Problems: some(pv.Problems)}
	if d := pv.Disk; d != nil {
		group := ""
		if pv.Group != nil {
			group = pv.Group.Name
		}
		image := imageOf(d, group)
		rec.ID, rec.imageRecord = d.ID, &image
		if d.DataAreas != nil { // nil if the label is lost
			rec.LabelSector = &d.Sector
		}
		if d.Seqno > 0 {
			rec.Seqno = &d.Seqno
		}
		for _, m := range d.Metadata {
			rec.Areas = append(rec.Areas, areaRecordOf(m))
		}
	}
	if g, k := pv.Group, pv.Known; g != nil {
		rec.ID = k.ID
		rec.knownRecord = &knownRecord{
			VG: g.Name, VGID: g.ID, Name: k.Name, Device: k.Device, DeviceID: k.DeviceID, DeviceSize: k.DevSize * cli.SectorSize,
			Size: k.Extents * g.ExtentSize * cli.SectorSize, PEStart: k.Start * cli.SectorSize,
			Extents: k.Extents, UsedExtents: pv.Used, FreeExtents: k.Extents - pv.Used,
			Status: some(k.Status), Flags: some(k.Flags), Tags: some(k.Tags),
			Other: others(k.Section, "id", "device", "device_id", "dev_size", "pe_start", "pe_count", "status", "flags", "tags"),
		}
	}
	return rec
}

func areaRecordOf(m lvm.MetadataArea) areaRecord {
	rec := areaRecord{
		Offset: m.Offset, Size: m.Size, Ignored: m.Ignored, Interrupted: m.Precommitted,
		TextOffset: m.TextOffset, TextSize: m.TextSize, VGID: m.GroupID, Seqno: m.Seqno,
	}
	if m.Err != nil {
		rec.Error = m.Err.Error()
	}
	return rec
}

func (a *Volumes) vgRecord(g *lvm.Group) vgRecord {
	s := a.sum(g)
	return vgRecord{
		Type: "vg", Name: g.Name, ID: g.ID, Seqno: g.Seqno, Format: g.Format,
		Status: some(g.Status), Flags: some(g.Flags), Tags: some(g.Tags),
		ExtentSize: g.ExtentSize * cli.SectorSize, Extents: s.extents, FreeExtents: s.free,
		PVs: len(g.PVs), MissingPVs: s.missing, LVs: len(g.LVs),
		MaxLV: g.MaxLV, MaxPV: g.MaxPV, MetadataCopies: g.MetadataCopies, SystemID: g.SystemID, LockType: g.LockType,
		AllocationPolicy: g.AllocationPolicy, Profile: g.Profile,
		Description: g.Description, CreationHost: g.CreationHost, CreationTime: g.CreationTime,
		Other: others(g.Section, "id", "seqno", "format", "status", "flags", "tags", "extent_size", "max_lv", "max_pv", "metadata_copies",
			"system_id", "lock_type", "allocation_policy", "profile", "physical_volumes", "logical_volumes"),
	}
}

func (r *VolumeRow) record() any {
	g, v := r.Group, r.Volume
	if v == nil {
		return unknownRecord{"device", g.Name, g.ID, r.Pool.Volume.Name, *r.mappedRecord()}
	}
	rec := lvRecord{
		Type: "lv", VG: g.Name, VGID: g.ID, Name: v.Name, ID: v.ID, Visible: v.Visible(), Segtype: kindOfVolume(v),
		Size: v.Size, Extents: v.Extents, Status: some(v.Status), Flags: some(v.Flags), Tags: some(v.Tags), Partial: r.Partial,
		CreationHost: v.CreationHost, CreationTime: v.CreationTime, Segments: []segmentRecord{},
		Other: others(v.Section, "id", "status", "flags", "tags", "creation_host", "creation_time", "segment_count", "segment*"),
	}
	for i := range v.Segments {
		rec.Segments = append(rec.Segments, segmentRecordOf(g, &v.Segments[i]))
	}
	if p := v.ThinPool(); p != nil {
		rec.ThinPool = r.poolRecord(p)
	}
	if t := v.Thin(); t != nil {
		rec.Thin = &thinRecord{
			Pool: t.Pool, DeviceID: t.DeviceID, TransactionID: t.TransactionID,
			Origin: t.Origin, ExternalOrigin: t.ExternalOrigin, Merge: t.Merge, Device: r.mappedRecord(),
		}
	}
	return rec
}

func segmentRecordOf(g *lvm.Group, s *lvm.Segment) segmentRecord {
	rec := segmentRecord{
		Start: s.Start, Extents: s.Extents, Type: s.Type, Flags: some(s.Flags),
		StripeSize: s.StripeSize * cli.SectorSize, Devices: []partRecord{}, Keys: others(s.Section, "start_extent", "extent_count", "type"),
	}
	for _, p := range lvmreport.Parts(g, s) {
		if p.PV != nil {
			rec.Devices = append(rec.Devices, partRecord{PV: p.Name, Extent: p.First})
		} else {
			rec.Devices = append(rec.Devices, partRecord{LV: p.Name, Extent: p.First})
		}
	}
	return rec
}

func (r *VolumeRow) poolRecord(p *lvm.ThinPool) *poolRecord {
	rec := &poolRecord{
		Metadata: p.Metadata, Data: p.Data, ChunkSize: p.ChunkSize * cli.SectorSize, TransactionID: p.TransactionID,
		Discards: discards(p), ZeroNewBlocks: p.ZeroNewBlocks, CropMetadata: p.CropMetadata, Messages: []messageRecord{},
	}
	for _, m := range p.Messages {
		rec.Messages = append(rec.Messages, messageRecord(m))
	}
	if r.Pool.Err != nil {
		rec.Error = r.Pool.Err.Error()
	}
	if sb := r.Pool.Superblock; sb != nil {
		rec.Superblock = &superblockRecord{
			Transaction: sb.TransactionID, Time: sb.Time, NeedsCheck: sb.Flags&metadata.NeedsCheck != 0, HeldRoot: sb.HeldRoot,
			DataBlockSize: sb.DataBlockSize, DataBlocks: sb.DataSpaceMap.NrBlocks, DataUsedBlocks: sb.DataSpaceMap.NrAllocated,
			DataPercent:    lvmreport.DataUsage(sb).Percent(),
			MetadataBlocks: sb.MetadataSpaceMap.NrBlocks, MetadataUsedBlocks: sb.MetadataSpaceMap.NrAllocated,
			ReservedBlocks: metadata.Reserve(sb.MetadataSpaceMap.NrBlocks), MetadataPercent: lvmreport.MetadataUsage(sb).Percent(),
		}
	}
	return rec
}

// mappedRecord returns nil if the device is not in the pool.
func (r *VolumeRow) mappedRecord() *mappedRecord {
	d := r.Device
	if d == nil {
		return nil
	}
	rec := mappedRecordOf(d)
	if r.Pool.Sharing {
		rec.ExclusiveBlocks, rec.SharedBlocks = &d.Exclusive, &d.Shared
	}
	if r.Volume != nil {
		percent := lvmreport.VolumeUsage(d.MappedBlocks, r.Volume.Size, BlockBytes(*r.Pool.Superblock)).Percent()
		rec.DataPercent = &percent
	}
	return rec
}

func mappedRecordOf(d *ls.Row) *mappedRecord {
	return &mappedRecord{
		DevID: d.ID, MappedBlocks: d.MappedBlocks, Transaction: d.TransactionID,
		CreationTime: d.CreationTime, SnapTime: d.SnapshottedTime,
	}
}

// some returns list, but never nil: JSON gets [] instead of null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// others returns the keys of a section that are not in known. "segment*" stands for all segments.
func others(s *lvm.Section, known ...string) map[string]any {
	all := map[string]any{}
	for _, e := range s.Entries {
		switch {
		case slices.Contains(known, e.Key):
		case e.Section == nil:
			all[printable.Text(e.Key)] = plainValue(e.Value)
		case !strings.HasPrefix(e.Key, "segment") || !slices.Contains(known, "segment*"):
			all[printable.Text(e.Key)] = others(e.Section)
		}
	}
	return all
}

// plainValue converts an LVM value to a Go number, string or list.
func plainValue(v lvm.Value) any {
	items := plainItems(v)
	if v.List {
		return items
	}
	return items[0]
}

func plainItems(v lvm.Value) []any {
	items := make([]any, len(v.Items))
	for i, item := range v.Items {
		switch item.Kind {
		case lvm.Integer:
			items[i] = item.Int
		case lvm.Float:
			items[i] = item.Float
		default:
			items[i] = printable.Text(item.Str) // like all other text of a group
		}
	}
	return items
}
