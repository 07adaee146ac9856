package export

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"thinpool/internal/printable"
	"thinpool/metadata"
)

// A State describes the content of a full copy of a thin device. It is stored in a file beside the
// copy: unlike an extended attribute, it can go wherever a file can go, and anyone can read it.
type State struct {
	Format int       `json:"format"` // stateFormat
	Status Status    `json:"status"`
	Why    string    `json:"why,omitempty"` // why the copy is unfit
	Size   int64     `json:"size"`          // of the copy in bytes; before the update, if one is in progress
	Of     Identity  `json:"of"`
	To     *Identity `json:"to,omitempty"` // the intended result of an update
}

// A Status says whether a copy is consistent.
type Status string

// The possible states of a copy.
const (
	Complete Status = "complete"
	Updating Status = "in progress" // some of it is older than the rest
	Unfit    Status = "unfit"       // it does not match a device at any point in time
)

// An Identity distinguishes one content of a thin device from all others, at least within the pool.
//
// The proof is Mappings. The kernel writes to a block in place only if its mapping is not older
// than the last snapshot of the device. A write to any other block goes elsewhere, and the new
// mapping is not older than that snapshot. So as long as the mappings are the same, blocks mapped
// before the time Snapshotted have the same content. If there are no other blocks, the device is
// Settled.
type Identity struct {
	Pool        string         `json:"pool,omitempty"` // source and id; empty: unknown
	Device      metadata.DevID `json:"dev_id"`
	Name        string         `json:"name,omitempty"` // for people
	Created     uint32         `json:"creation_time"`
	Transaction uint64         `json:"transaction_id"` // of the pool; for people
	BlockSize   uint32         `json:"data_block_size"`
	Origin      int64          `json:"origin_size"` // size of the external origin; 0: none
	Mapped      uint64         `json:"mapped_blocks"`
	Mappings    string         `json:"mappings"` // SHA-256 of all mappings
	Snapshotted uint32         `json:"snapshotted_time"`
	Settled     bool           `json:"settled"` // nothing can be written in place
}

// Identify reads all mappings of a device.
func Identify(ctx context.Context, p *metadata.Pool, d metadata.Device) (Identity, error) {
	id := Identity{Device: d.ID, Created: d.CreationTime, Snapshotted: d.SnapshottedTime, Transaction: p.Superblock.TransactionID, BlockSize: p.Superblock.DataBlockSize, Settled: true}
	sum := sha256.New()
	var b []byte
	for r, err := range p.Runs(ctx, d) {
		if err != nil {
			return id, err
		}
		id.Mapped += r.Len
		id.Settled = id.Settled && r.Time < d.SnapshottedTime
		b = binary.LittleEndian.AppendUint64(b[:0], uint64(r.Thin))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Data))
		b = binary.LittleEndian.AppendUint64(b, r.Len)
		b = binary.LittleEndian.AppendUint32(b, r.Time)
		sum.Write(b)
	}
	id.Mappings = hex.EncodeToString(sum.Sum(nil))
	return id, nil
}

// Is reports whether both have the same content, apart from writes in place. The pools are compared
// only if both have an id from the same source.
func (id *Identity) Is(other *Identity) bool {
	a, b := *id, *other
	a.Name, a.Transaction, a.Snapshotted, a.Settled = b.Name, b.Transaction, b.Snapshotted, b.Settled
	if from, _, _ := strings.Cut(a.Pool, ":"); !strings.HasPrefix(b.Pool, from+":") {
		a.Pool = b.Pool
	}
	return a == b
}

func (id *Identity) String() string {
	s := fmt.Sprintf("device %d", id.Device)
	if id.Name != "" {
		s += " (" + printable.Text(id.Name) + ")"
	}
	if id.Pool != "" {
		s += " of pool " + printable.Text(id.Pool)
	}
	return fmt.Sprintf("%s at transaction %d: %d mapped blocks, mappings %.12s", s, id.Transaction, id.Mapped, printable.Text(id.Mappings))
}

const stateFormat = 1

// ErrNoState means that a file is not the state of a copy.
var ErrNoState = errors.New("not the state of a copy that thin_export made")

// StatePath returns the path of a copy's state.
func StatePath(path string) string { return path + ".state" }

// LoadState reads the state of the copy at path. If there is none, the error is [os.ErrNotExist].
func LoadState(path string) (*State, error) {
	path = StatePath(path)
	s := new(State)
	if err := loadNote(path, s, ErrNoState); err != nil {
		return nil, err
	}
	switch {
	case s.Format != stateFormat:
		return nil, fmt.Errorf("%s: %w: format %d, this version knows %d", path, ErrNoState, s.Format, stateFormat)
	case s.Size < 0 || s.Status != Complete && s.Status != Updating && s.Status != Unfit || (s.To != nil) != (s.Status == Updating):
		return nil, fmt.Errorf("%s: %w: its fields do not fit together", path, ErrNoState)
	}
	return s, nil
}

// Save atomically replaces the state of the copy at path with s and makes that durable.
func (s *State) Save(path string) error {
	s.Format = stateFormat
	return saveNote(StatePath(path), s)
}
