// Package generate, whose API may change, generates the content of artificial pools for tests and
// benchmarks, with the given numbers of devices, mappings and snapshots, scattered as requested.
// The same seed gives the same pool.
package generate

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"strconv"

	"thinpool/metadata"
)

// A Shape describes a pool.
type Shape struct {
	Devices    uint64  // origins: devices that are not snapshots
	Mappings   uint64  // of each device
	RunLength  uint64  // mean length of a run; 1: no two blocks are adjacent
	Gaps       float64 // share of unmapped thin blocks, from 0 to below 1
	Snapshots  uint64  // of each origin
	Divergence float64 // share of an origin's mappings changed in each snapshot, and in the origin since

	DataBlockSize uint32 // sectors; 0: 128
	NrDataBlocks  uint64 // 0: as many as mapped
	TransactionID uint64
	NeedsCheck    bool
	Seed          uint64
}

// leafEntries is the number of mappings in a leaf. This many, or a multiple if runs are longer,
// form a piece, which is shared or changed as a whole.
const leafEntries = 252

// Check returns an error if the shape is invalid.
func (s *Shape) Check() error {
	family := s.Snapshots + 1
	switch {
	case s.Devices > metadata.MaxDevID || s.Snapshots > metadata.MaxDevID || s.Devices*family > metadata.MaxDevID+1:
		return fmt.Errorf("%d devices with %d snapshots each are more than %d", s.Devices, s.Snapshots, metadata.MaxDevID+1)
	case s.RunLength == 0:
		return fmt.Errorf("runs of 0 blocks")
	case !(s.Gaps >= 0 && s.Gaps < 1):
		return fmt.Errorf("gaps of %v, want 0 to below 1", s.Gaps)
	case !(s.Divergence >= 0 && s.Divergence <= 1):
		return fmt.Errorf("divergence of %v, want 0 to 1", s.Divergence)
	case s.RunLength > 1<<32 || s.Mappings > metadata.MaxDataBlocks ||
		s.Devices*family > metadata.MaxDataBlocks/(s.Mappings+s.piece()):
		return fmt.Errorf("%d mappings of %d devices are more than the format can number", s.Mappings, s.Devices*family)
	}
	return nil
}

// piece returns the number of mappings in a piece.
func (s *Shape) piece() uint64 {
	return leafEntries * ((8*s.RunLength + leafEntries - 1) / leafEntries)
}

// Run generates the pool as calls of v.
func Run(ctx context.Context, s Shape, v metadata.Visitor) error {
	if err := s.Check(); err != nil {
		return err
	}
	g := newGenerator(s, v)
	h := metadata.Header{
		Version: metadata.Version, Time: uint32(s.Snapshots * s.Devices), TransactionID: s.TransactionID,
		DataBlockSize: s.DataBlockSize, NrDataBlocks: max(s.NrDataBlocks, g.places*g.piece()),
	}
	if s.NeedsCheck {
		h.Flags = metadata.NeedsCheck
	}
	if h.DataBlockSize == 0 {
		h.DataBlockSize = metadata.MinDataBlockSize
	}
	if h.Time > metadata.MaxTime {
		return fmt.Errorf("%d snapshots are more than a pool can have in its life", h.Time)
	}
	if err := v.Begin(h); err != nil {
		return err
	}
	if err := g.defs(ctx); err != nil {
		return err
	}
	if err := g.devices(ctx); err != nil {
		return err
	}
	return v.End()
}

type generator struct {
	Shape
	v       metadata.Visitor
	pieces  uint64 // of a device
	places  uint64 // on the data device, one per piece
	scatter uint64 // coprime to places
	window  uint64 // thin blocks that a piece is spread over
	runs    []metadata.Run
}

func newGenerator(s Shape, v metadata.Visitor) *generator {
	g := &generator{Shape: s, v: v}
	g.pieces = (s.Mappings + s.piece() - 1) / s.piece()
	g.places = max(1, g.pieces*(s.Snapshots+1)*s.Devices)
	const golden = 0.6180339887 // multiples of it are far apart
	for g.scatter = uint64(golden * float64(g.places)); gcd(g.scatter, g.places) != 1; g.scatter++ {
	}
	g.window = uint64(float64(s.piece()) / (1 - s.Gaps))
	return g
}

func gcd(a, b uint64) uint64 {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

// random returns random numbers that depend on the seed and on their purpose.
func (g *generator) random(origin, piece, member uint64) *rand.Rand {
	return rand.New(rand.NewPCG(g.Seed<<1|1, origin*0x9e3779b97f4a7c15^piece*0xbf58476d1ce4e5b9^(member+1)*0x94d049bb133111eb))
}

// own reports whether a member of an origin's family has changed a piece. Member 0 is the origin
// itself.
func (g *generator) own(origin, piece, member uint64) bool {
	return g.Snapshots > 0 && g.random(origin, piece, member).Float64() < g.Divergence
}

// keepers returns the first member of a family that has not changed a piece, and whether there is
// another. If there is none, first is the number of members.
func (g *generator) keepers(origin, piece uint64) (first uint64, shared bool) {
	family := g.Snapshots + 1
	first = family
	for member := range family {
		switch {
		case g.own(origin, piece, member):
		case first < family:
			return first, true
		default:
			first = member
		}
	}
	return first, false
}

// defs passes on what several members of a family have in common.
func (g *generator) defs(ctx context.Context) error {
	if g.Snapshots == 0 {
		return nil
	}
	for origin := range g.Devices {
		for p := range g.pieces {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, shared := g.keepers(origin, p); !shared {
				continue
			}
			if err := g.v.BeginDef(name(origin, p)); err != nil {
				return err
			}
			if err := g.v.Runs(g.content(origin, p, common, uint32(origin*g.Snapshots))); err != nil {
				return err
			}
			if err := g.v.EndDef(); err != nil {
				return err
			}
		}
	}
	return nil
}

func name(origin, piece uint64) string {
	return strconv.FormatUint(origin, 10) + "." + strconv.FormatUint(piece, 10)
}

func (g *generator) devices(ctx context.Context) error {
	family := g.Snapshots + 1
	for id := range g.Devices * family {
		origin, member := id/family, id%family
		first := origin * g.Snapshots // time before the family's snapshots
		d := metadata.Details{MappedBlocks: g.Mappings, CreationTime: uint32(first), SnapshottedTime: uint32(first + g.Snapshots)}
		if member > 0 {
			d.CreationTime = uint32(first + member)
			d.SnapshottedTime = d.CreationTime
		}
		if err := g.v.BeginDevice(metadata.DevID(id), d); err != nil {
			return err
		}
		if err := g.mappings(ctx, origin, member, uint32(first), uint32(first+g.Snapshots)); err != nil {
			return err
		}
		if err := g.v.EndDevice(); err != nil {
			return err
		}
	}
	return nil
}

// mappings passes on the mappings of one member. Mappings shared with others are from before the
// snapshots, its own from after them.
func (g *generator) mappings(ctx context.Context, origin, member uint64, before, after uint32) error {
	for p := range g.pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if g.own(origin, p, member) {
			err = g.v.Runs(g.content(origin, p, member, after))
		} else if _, shared := g.keepers(origin, p); shared {
			err = g.v.Ref(name(origin, p))
		} else {
			err = g.v.Runs(g.content(origin, p, common, before))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// common is the version of a piece from before the snapshots. The other versions belong to the
// members that changed the piece.
const common = math.MaxUint64

// content returns a version of a piece.
func (g *generator) content(origin, p, version uint64, time uint32) []metadata.Run {
	shape := g.random(origin, p, common-1) // the same thin blocks for all versions
	left := min(g.piece(), g.Mappings-p*g.piece())
	thin, spare := p*g.window, g.window-g.piece()
	step := 2 * spare * g.RunLength / g.piece()
	g.runs = g.runs[:0]
	for left > 0 {
		length := min(left, g.length(shape))
		left -= length
		g.runs = append(g.runs, metadata.Run{Thin: metadata.ThinBlock(thin), Len: length, Time: time})
		gap := min(spare, shape.Uint64N(step+1))
		spare -= gap
		thin += length + gap
	}
	// Runs are laid out in another order than in the device.
	data := g.place(origin, p, version)
	for _, i := range g.random(origin, p, version).Perm(len(g.runs)) {
		g.runs[i].Data = metadata.DataBlock(data)
		data += g.runs[i].Len
	}
	return g.runs
}

// length returns the length of a run.
func (g *generator) length(random *rand.Rand) uint64 { return 1 + random.Uint64N(2*g.RunLength-1) }

// place returns where a version of a piece is on the data device. Each member has a place for its
// own version; the common version uses that of the first member without one.
func (g *generator) place(origin, p, version uint64) uint64 {
	if version == common {
		version, _ = g.keepers(origin, p)
	}
	i := (origin*g.pieces+p)*(g.Snapshots+1) + version
	high, low := bits.Mul64(i, g.scatter)
	_, at := bits.Div64(high%g.places, low, g.places)
	return at * g.piece()
}
