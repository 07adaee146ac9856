package view

import (
	"io"

	"thinpool/internal/lvmcheck"
	"thinpool/metadata"
	"thinpool/tool/report"
)

// reportedPool is the first line of a report.
type reportedPool struct {
	Type             string  `json:"type"` // "pool"
	Pool             string  `json:"pool"`
	Snapshot         bool    `json:"snapshot"`
	Level            string  `json:"level"`
	State            string  `json:"state"`
	TransactionID    *uint64 `json:"transaction_id,omitempty"` // nil, like all fields below, if the superblock is unreadable
	Time             *uint32 `json:"time,omitempty"`
	NeedsCheck       *bool   `json:"needs_check,omitempty"`
	HeldRoot         *uint64 `json:"held_root,omitempty"`
	DataBlockSize    *uint32 `json:"data_block_size,omitempty"` // sectors
	DataBlocks       *uint64 `json:"data_blocks,omitempty"`
	DataUsed         *uint64 `json:"data_used_blocks,omitempty"`
	MetadataBlocks   *uint64 `json:"metadata_blocks,omitempty"`
	MetadataUsed     *uint64 `json:"metadata_used_blocks,omitempty"`
	MetadataReserved *uint64 `json:"metadata_reserved_blocks,omitempty"`
	Room             *uint64 `json:"room_blocks,omitempty"`
}

func poolOf(r *report.Report) reportedPool {
	level, state := r.State()
	rec := reportedPool{Type: "pool", Pool: r.Pool, Snapshot: r.Snapshot, Level: string(level), State: state}
	sb := r.Superblock
	if sb == nil {
		return rec
	}
	used := sb.MetadataSpaceMap.NrBlocks - sb.FreeMetadataBlocks()
	rec.TransactionID, rec.Time, rec.NeedsCheck, rec.HeldRoot = &sb.TransactionID, &sb.Time, new(sb.Flags&metadata.NeedsCheck != 0), new(uint64(sb.HeldRoot))
	rec.DataBlockSize, rec.DataBlocks, rec.DataUsed = &sb.DataBlockSize, &sb.DataSpaceMap.NrBlocks, &sb.DataSpaceMap.NrAllocated
	rec.MetadataBlocks, rec.MetadataUsed, rec.MetadataReserved = &sb.MetadataSpaceMap.NrBlocks, &used, new(metadata.Reserve(sb.MetadataSpaceMap.NrBlocks))
	if room, ok := r.Room(); ok {
		rec.Room = &room
	}
	return rec
}

// reportedVolume is a volume of a report.
type reportedVolume struct {
	Type         string          `json:"type"` // "volume"
	DevID        metadata.DevID  `json:"dev_id"`
	Name         string          `json:"name,omitempty"`
	Size         *uint64         `json:"size,omitempty"` // bytes
	Mapped       uint64          `json:"mapped_blocks"`
	Exclusive    uint64          `json:"exclusive_blocks"`
	Shared       uint64          `json:"shared_blocks"`
	Transaction  uint64          `json:"transaction_id"`
	CreationTime uint32          `json:"creation_time"`
	SnapTime     uint32          `json:"snap_time"`
	Runs         uint64          `json:"runs"`
	Leaves       uint64          `json:"leaves"`
	Damaged      bool            `json:"damaged"`
	Origin       *metadata.DevID `json:"origin,omitempty"`
	Likely       bool            `json:"origin_likely,omitempty"`
}

// reportedSharing is what two volumes share.
type reportedSharing struct {
	Type   string            `json:"type"` // "sharing"
	DevIDs [2]metadata.DevID `json:"dev_ids"`
	Blocks uint64            `json:"blocks"`
	Only   bool              `json:"only,omitempty"` // shared by no other volume
	Every  uint64            `json:"every"`
}

// reportedPart is a part of the data device.
type reportedPart struct {
	Type      string `json:"type"` // "part"
	Begin     uint64 `json:"begin"`
	Length    uint64 `json:"length"`
	Exclusive uint64 `json:"exclusive_blocks"`
	Shared    uint64 `json:"shared_blocks"`
	Faulty    uint64 `json:"faulty_blocks"`
}

// reportedRuns counts runs of similar length.
type reportedRuns struct {
	Type   string `json:"type"` // "runs"
	Least  uint64 `json:"least"`
	Most   uint64 `json:"most"`
	Runs   uint64 `json:"runs"`
	Blocks uint64 `json:"blocks"`
}

// reportedFill says how full the leaves are.
type reportedFill struct {
	Type     string     `json:"type"` // "fill"
	Leaves   uint64     `json:"leaves"`
	Mappings uint64     `json:"mappings"`
	Room     uint64     `json:"room"`
	Tenths   [10]uint64 `json:"tenths"`
}

// reportedEnd is the last line.
type reportedEnd struct {
	Type     string `json:"type"` // "summary"
	Fatal    uint64 `json:"fatal"`
	NonFatal uint64 `json:"non_fatal"`
	Notes    uint64 `json:"notes"`
	Omitted  uint64 `json:"omitted_faults"`
	Devices  uint64 `json:"devices"`
	Mappings uint64 `json:"mappings"`
}

// PoolReport prints a pool report as JSON.
func PoolReport(w io.Writer, r *report.Report) error {
	enc := NewEncoder(w)
	records := []any{poolOf(r)}
	for i := range r.Faults {
		f := jsonFault(r.Faults[i].Fault)
		f.Advice = r.Faults[i].Advice
		records = append(records, f)
	}
	for _, d := range r.Differences {
		records = append(records, lvmRecord{"lvm", lvmcheck.Code(d.Code), d.Refused, d.Text, d.Fix})
	}
	if r.Mapped {
		records = append(records, mappedRecords(r)...)
	}
	sum := r.Check
	for _, rec := range append(records, reportedEnd{"summary", sum.Fatal, sum.NonFatal, sum.Notes, r.Omitted, sum.Devices, sum.Mappings}) {
		if err := enc.Encode(rec); err != nil {
			return err
		}
	}
	return nil
}

// mappedRecords returns the records about mappings.
func mappedRecords(r *report.Report) []any {
	var records []any
	m := &r.Sharing
	id := func(i int) metadata.DevID { return r.Volumes[m.Devices[i]].ID }
	origins := map[metadata.DevID]report.Origin{}
	for i, o := range m.Origins {
		if o.Of >= 0 {
			origins[id(i)] = o
		}
	}
	for i := range r.Volumes {
		v := &r.Volumes[i]
		rec := reportedVolume{
			Type: "volume", DevID: v.ID, Name: v.Name, Mapped: v.MappedBlocks, Exclusive: v.Exclusive, Shared: v.Shared, Transaction: v.TransactionID,
			CreationTime: v.CreationTime, SnapTime: v.SnapshottedTime, Runs: v.Runs, Leaves: v.Leaves, Damaged: v.Damaged,
		}
		if v.Named {
			rec.Size = &v.Size
		}
		if o, ok := origins[v.ID]; ok {
			rec.Origin, rec.Likely = new(id(o.Of)), o.Likely
		}
		records = append(records, rec)
	}
	for i := range m.Devices {
		for j := i + 1; j < len(m.Devices); j++ {
			if n := m.Common[i][j]; n > 0 {
				records = append(records, reportedSharing{"sharing", [2]metadata.DevID{id(i), id(j)}, n, false, m.Every})
			}
		}
	}
	for _, p := range m.Pairs {
		records = append(records, reportedSharing{"sharing", [2]metadata.DevID{id(p.A), id(p.B)}, p.Blocks, true, m.Every})
	}
	for _, p := range r.Parts() {
		records = append(records, reportedPart{"part", p.First, p.Blocks, p.Exclusive, p.Shared, p.Faulty})
	}
	for _, b := range r.Runs {
		records = append(records, reportedRuns{"runs", b.First, b.Last, b.Runs, b.Blocks})
	}
	return append(records, reportedFill{"fill", r.Fill.Leaves, r.Fill.Mappings, r.Fill.Room, r.Fill.Tenths})
}
