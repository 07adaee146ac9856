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

// patience is how long a tool may take for a case. All need well under a second.
const patience = time.Minute

// A Detection is what tool/check made of a case, and what it should have.
type Detection struct {
	Reading *Reading // what a plain reader finds
	Seen    *Reading // what it finds if only block 0 is put right; the same if that is good
	// Changed says that a plain reader finds another pool than before; Contradicts
	// that the format has the means to notice.
	Changed, Contradicts bool
	Detected             bool     // by a fault that is no mere note, a leak, or an error of the device
	Wrong                []string // demands that were not met
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
	if c.against != nil { // another state of the pool, which is sound if it is whole
		facts = c.against.Differs(r)
	}
	d.Contradicts = r.Err != nil || len(r.Lost) > 0 || len(facts) > 0
	d.Changed = d.Contradicts || c.against != nil || r.Free != truth.Free
	sum, err := check.Run(ctx, device{c}, check.Options{Parallel: 1}, func(f check.Fault) { d.faults = append(d.faults, f) })
	// The kernel itself leaks data blocks, so that is a note; but a note there must be.
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

// blame demands that every loss has a fatal fault which names the block, or the
// one that points to it, and exactly the devices that lose by it.
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

// blamed returns the devices that fatal faults name for a loss, and whether there are such faults.
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

// losers are all devices that lose something by the same block.
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
