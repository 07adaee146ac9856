package damage

import (
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/repair"
)

// claims are the statements in a repair's report that the lab judges. Only this file depends on the
// form of the report.
type claims struct {
	lossless bool // exit code 0
	state    state
	others   []state // states the report names as possibly the right one
	choice   bool    // the report says that the state it took may not be the last one
	devices  []deviceClaims
}

// A state is the roots of both device trees. A root is 0 if its tree was rebuilt from parts.
type state struct{ mapping, details block.Nr }

func (s state) like(o state) bool {
	return (s.mapping == o.mapping || s.mapping == 0) && (s.details == o.details || s.details == 0)
}

// deviceClaims are the report's statements about a device.
type deviceClaims struct {
	id                             metadata.DevID
	known                          bool // the number of mappings it had is known
	expected                       uint64
	read, confirmed, guessed, lost uint64
	ranges                         []btree.KeyRange // lost ranges
}

func (d *deviceClaims) found() uint64 { return d.read + d.confirmed + d.guessed }

func (c *claims) device(id metadata.DevID) *deviceClaims {
	i := slices.IndexFunc(c.devices, func(d deviceClaims) bool { return d.id == id })
	if i < 0 {
		return nil
	}
	return &c.devices[i]
}

func claimsOf(r *repair.Report) *claims {
	c := &claims{lossless: r.Lossless(), state: state{r.MappingRoot, r.DetailsRoot}, choice: r.Chosen || len(r.Doubts) > 0}
	for _, s := range r.Alternatives {
		c.others = append(c.others, state{s.Mapping, s.Details})
	}
	for i := range r.Devices {
		d := &r.Devices[i]
		out := deviceClaims{id: d.ID, known: d.Known, expected: d.Expected, read: d.Read, confirmed: d.Confirmed, guessed: d.Guessed, lost: d.Lost}
		for l := range d.Holes() {
			out.ranges = append(out.ranges, l.Keys)
		}
		c.devices = append(c.devices, out)
	}
	return c
}
