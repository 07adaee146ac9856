package command

import (
	"fmt"
	"math"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/dump"
	"thinpool/tool/size"
)

// exactRecord is the result of --from in JSON.
type exactRecord struct {
	Type        string  `json:"type"` // "summary"
	Bytes       uint64  `json:"bytes"`
	Blocks      uint64  `json:"blocks"`
	UsedBlocks  *uint64 `json:"metadata_used_blocks,omitempty"`
	TotalBlocks *uint64 `json:"metadata_blocks,omitempty"`
	RoomBytes   uint64  `json:"room_bytes"`
	RoomFits    bool    `json:"room_fits"`
}

// from prints the exact size needed to restore a dump, or the metadata itself.
func (m *MetadataSize) from(env *cli.Env, unit cli.Unit) error {
	b := poolReader{Builder: write.New(write.Options{Progress: env.Progress})}
	used, err := m.readFrom(env, &b)
	if err != nil {
		return err
	}
	r := exactRecord{Type: "summary", Bytes: uint64(b.Least()) * block.Size, Blocks: uint64(b.Least())}
	if used != nil {
		r.UsedBlocks, r.TotalBlocks = &used.NrAllocated, &used.NrBlocks
	}
	room, err := m.room(&b, used)
	if err != nil {
		return err
	}
	r.RoomBytes, r.RoomFits = room.Bytes, room.Fits
	switch {
	case m.Format == "json":
		return view.NewEncoder(env.Stdout).Encode(r)
	case m.NumericOnly.Set:
		return m.number(env.Stdout, r.Bytes, unit)
	}
	fmt.Fprintf(env.Stdout, "restoring %s takes at least %s %s (%d blocks)\n", m.From, size.Number(r.Bytes, unit.Bytes), unit.Name, r.Blocks)
	if used != nil {
		fmt.Fprintf(env.Stdout, "now %d of %d blocks are used; nodes are %.0f %% full\n",
			used.NrAllocated, used.NrBlocks, 100*min(1, float64(r.Blocks)/float64(max(used.NrAllocated, 1))))
		free, reserve := used.NrBlocks-min(used.NrAllocated, used.NrBlocks), metadata.Reserve(used.NrBlocks)
		if free <= reserve {
			fmt.Fprintf(env.Stdout, "only %d blocks are free, and the kernel keeps %d in reserve: the pool gets no new blocks\n", free, reserve)
		}
	}
	return view.Room(env.Stdout, room, unit)
}

// room returns the recommended metadata size, for the case that the pool becomes full.
func (m *MetadataSize) room(b *poolReader, used *spaceMap) (size.Advice, error) {
	blockSize := uint64(b.header.DataBlockSize) * cli.SectorSize
	p := size.Pool{
		BlockSize: blockSize, Thins: b.devices,
		Snapshots: m.Snapshots, Divergence: float64(m.Divergence), ExtentSize: m.ExtentSize.Bytes,
	}
	p.Size = min(max(b.header.NrDataBlocks, b.mapped, 1), math.MaxUint64/max(blockSize, 1)) * blockSize
	if err := p.Check(); err != nil {
		return size.Advice{}, cli.Usagef("%w", err)
	}
	now := uint64(0)
	if used != nil {
		now = used.NrAllocated
	}
	return p.AdviseFrom(uint64(b.Least()), now), nil
}

// A poolReader also records properties of the pool.
type poolReader struct {
	*write.Builder
	header          metadata.Header
	devices, mapped uint64 // mapped: the most of any device
}

// Begin implements metadata.Visitor.
func (p *poolReader) Begin(h metadata.Header) error {
	p.header = h
	return p.Builder.Begin(h)
}

// BeginDevice implements metadata.Visitor.
func (p *poolReader) BeginDevice(id metadata.DevID, d metadata.Details) error {
	p.devices, p.mapped = p.devices+1, max(p.mapped, d.MappedBlocks)
	return p.Builder.BeginDevice(id, d)
}

// spaceMap is the metadata's own usage.
type spaceMap = struct{ NrAllocated, NrBlocks uint64 }

// readFrom reads metadata or a dump into v. It returns nil for a dump.
func (m *MetadataSize) readFrom(env *cli.Env, v metadata.Visitor) (*spaceMap, error) {
	if m.disk().Given() || source.IsPlace(m.From) || source.IsMetadata(m.From) || source.IsDisk(m.From) {
		pool, dev, err := source.OpenPool(env, source.Spec{Path: m.From, Snapshot: m.Snapshot, Packs: true, Disk: m.disk()})
		if err != nil {
			return nil, err
		}
		defer dev.Close()
		if err := dump.Run(env, pool, dump.Options{LiveSize: true, Progress: env.Progress}, v); err != nil {
			return nil, view.Named(source.Damaged(err), dev.Name)
		}
		if m.Snapshot.Set {
			return nil, pool.CheckSnapshotHeld() // the current usage includes more than the snapshot
		}
		sm := pool.Live.MetadataSpaceMap
		return &spaceMap{sm.NrAllocated, sm.NrBlocks}, nil
	}
	if m.Snapshot.Set {
		return nil, cli.Usagef("--metadata-snap: %s is not metadata", m.From)
	}
	in, err := source.OpenText(env, m.From)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if err := source.ReadDump(env, in, v, metadata.Overrides{}, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", m.From, err)
	}
	return nil, nil
}
