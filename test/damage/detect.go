package damage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
)

// patience is how long a tool may take per case. All need well under a second.
const patience = time.Minute

// A Detection is the result of tool/check on a case, and what was expected.
type Detection struct {
	Reading *Reading // what a plain reader finds
	Seen    *Reading // the same with only block 0 repaired
	// Changed means that a plain reader finds a different pool than before. Contradicts means that
	// the format makes the change detectable.
	Changed, Contradicts bool
	Detected             bool     // by a device error, a leak, or a fault worse than a note
	Wrong                []string // requirements that were not met
	faults               []check.Fault
}

// Detect runs tool/check on a case and judges it.
func (c *Case) Detect(ctx context.Context) *Detection {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, truth := c.reading(), c.Image.Truth
	d := &Detection{Reading: r, Seen: r}
	if r.Err != nil {
		d.Seen = c.withSuperblock().reading()
	}
	facts := truth.Differs(r)
	if c.against != nil { // the superblock leads to another state, which is sound if it is whole
		facts = c.against.Differs(r)
	}
	d.Contradicts = r.Err != nil || len(r.Lost) > 0 || len(facts) > 0
	d.Changed = d.Contradicts || c.against != nil || r.Free != truth.Free
	sum, err := check.Run(ctx, device{c}, check.Options{Parallel: 1}, func(f check.Fault) { d.faults = append(d.faults, f) })
	// The kernel itself leaks data blocks, so a leak is only a note. But the note is required.
	d.Detected = err != nil || sum.Fatal+sum.NonFatal+sum.DataLeaks > 0
	switch _, unreadable := c.read(metadata.SuperblockLocation); {
	case err != nil && unreadable == nil:
		d.wrong("the check ends with an error: %v", err)
	case err != nil:
		return d
	case d.Contradicts && !d.Detected:
		d.wrong("nothing is found, but a plain reader sees other %s, and loses %s", strings.Join(facts, ", "), lostText(r))
	case !d.Changed && sum.Fatal > 0:
		d.wrong("nothing has changed for a plain reader, but there are fatal faults: %s", d.texts())
	}
	d.blame()
	return d
}

func (d *Detection) wrong(format string, args ...any) {
	d.Wrong = append(d.Wrong, "check: "+short(fmt.Sprintf(format, args...)))
}

func (d *Detection) texts() string {
	var texts []string
	for i := range d.faults {
		texts = append(texts, d.faults[i].String())
	}
	return strings.Join(texts, "; ")
}

func lostText(r *Reading) string {
	if r.Err != nil {
		return r.Err.Error()
	}
	var texts []string
	for i := range r.Lost {
		texts = append(texts, r.Lost[i].String())
	}
	return fmt.Sprintf("%d pieces: %s", len(texts), strings.Join(texts, "; "))
}

// blame requires that every loss has a fatal fault that names the block, or the block that points
// to it, and exactly the devices affected.
func (d *Detection) blame() {
	if d.Reading.Err != nil {
		if !slices.ContainsFunc(d.faults, func(f check.Fault) bool {
			return f.Severity == check.Fatal && (f.Code == check.Unformatted || f.Block != nil && *f.Block == metadata.SuperblockLocation)
		}) {
			d.wrong("the superblock is not blamed for %v: %s", d.Reading.Err, d.texts())
		}
		return
	}
	for i := range d.Reading.Lost {
		l := &d.Reading.Lost[i]
		if blamed, ok := d.blamed(l); !ok {
			d.wrong("no fault for the loss of %s; found: %s", l, d.texts())
		} else if want := d.losers(l); !l.Held && !slices.Equal(blamed, want) {
			d.wrong("devices %v are named, want %v, for the loss of %s: %s", blamed, want, l, d.texts())
		}
	}
}

// blamed returns the devices named by fatal faults for a loss, and whether there are such faults.
func (d *Detection) blamed(l *Lost) (devices []metadata.DevID, ok bool) {
	for _, at := range []block.Nr{l.Block, l.Parent} {
		for _, f := range d.faults {
			held := strings.Contains(f.Tree, "snapshot")
			if f.Severity != check.Fatal || f.Block == nil || *f.Block != at || held && !l.Held || f.Counts != nil {
				continue
			}
			ok = true
			devices = append(devices, f.Devices...)
		}
		if ok {
			break
		}
	}
	slices.Sort(devices)
	return slices.Compact(devices), ok
}

// losers returns all devices that lose something because of the same block.
func (d *Detection) losers(l *Lost) []metadata.DevID {
	var ids []metadata.DevID
	for _, o := range d.Reading.Lost {
		if o.Block == l.Block && !o.Held {
			ids = append(ids, o.Devices...)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
