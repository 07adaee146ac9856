package explore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"thinpool/internal/pdata/spacemap"
	"thinpool/tool/check"
)

// mostFaults limits how many faults are kept.
const mostFaults = 2000

// A faultList is the result of a check.
type faultList struct {
	all  []check.Fault // worst first
	more uint64        // number of faults not kept
}

// check runs a check, and then continues with its result.
func (m Model) check(then func(Model) (Model, Effects)) (Model, Effects) {
	if m.faults != nil {
		return then(m)
	}
	return m.start("checking", func(ctx context.Context, r *reader) found {
		list := &faultList{}
		_, err := check.Run(ctx, r.opt.Device, check.Options{Snapshot: r.opt.Snapshot, Progress: r.progress}, func(f check.Fault) {
			if len(list.all) < mostFaults {
				list.all = append(list.all, f)
			} else {
				list.more++
			}
		})
		if err != nil {
			return found{err: err}
		}
		slices.SortStableFunc(list.all, func(a, b check.Fault) int { return int(b.Severity) - int(a.Severity) })
		return found{faults: list, then: then}
	})
}

func (m Model) nextFault() (Model, Effects) {
	return m.check(func(m Model) (Model, Effects) { return m.fault(1) })
}

func (m Model) previousFault() (Model, Effects) {
	return m.check(func(m Model) (Model, Effects) { return m.fault(-1) })
}

// fault goes to the next or previous fault. Before the first key it is at none.
func (m Model) fault(step int) (Model, Effects) {
	n := len(m.faults.all)
	if n == 0 {
		return m.say("the check found no faults"), Effects{}
	}
	at := m.atFault - 1 + step
	if m.atFault == 0 && step < 0 {
		at = n - 1
	}
	return m.toFault((at%n + n) % n)
}

// toFault goes to fault i.
func (m Model) toFault(i int) (Model, Effects) {
	m.atFault = i + 1
	f, list, name := m.faults.all[i], m.faults, m.opt.Name
	return m.read(func(ctx context.Context, r *reader) found {
		got := r.fault(ctx, &f)
		if len(got.pages) == 0 {
			return got
		}
		last := &got.pages[len(got.pages)-1]
		notes := []string{fmt.Sprintf("fault %d of %d", i+1, uint64(len(list.all))+list.more), "! " + f.Text(name), "what to do: " + f.Advice(), ""}
		last.notes = append(notes, last.notes...)
		got.note = fmt.Sprintf("fault %d of %d: %s", i+1, uint64(len(list.all))+list.more, f.Code)
		return got
	})
}

// listFaults lists all faults.
func (m Model) listFaults() (Model, Effects) {
	return m.check(func(m Model) (Model, Effects) {
		p := page{title: "faults", none: "the check found no faults", notes: []string{fmt.Sprintf("%d faults", uint64(len(m.faults.all))+m.faults.more), "f and F go from one to the next"}}
		for i := range m.faults.all {
			f := &m.faults.all[i]
			text := f.Text(m.opt.Name)
			p.rows = append(p.rows, row{
				text: text, bad: f.Severity == check.Fatal, about: []string{text, "what to do: " + f.Advice()},
				run: func(m Model) (Model, Effects) { return m.toFault(i) },
			})
		}
		return m.show([]page{p}, true), Effects{}
	})
}

// fault returns the path to a fault, or as much of it as exists.
func (r *reader) fault(ctx context.Context, f *check.Fault) found {
	pages := r.faultPath(ctx, f)
	if f.Block != nil {
		for i := range pages {
			if pages[i].block != nil && pages[i].block.nr == *f.Block {
				pages = pages[:i+1]
				break
			}
		}
		if last := &pages[len(pages)-1]; last.block.nr != *f.Block {
			to := at(*f.Block)
			to.top = last.place.top
			pages = append(pages, r.page(to))
		}
	}
	return found{pages: pages, blocks: r.read}
}

// faultPath goes towards a fault: by its tree, its device and the lost keys.
func (r *reader) faultPath(ctx context.Context, f *check.Fault) []page {
	top, err := r.top()
	part := f.Tree
	if rest, ok := strings.CutPrefix(part, "metadata snapshot, "); ok && err == nil && !r.opt.Snapshot {
		part = rest
		if held := top.selectBlock(top.block.super.HeldRoot); held != nil {
			top = r.page(*held)
		}
	}
	pages := []page{top}
	key := uint64(0)
	switch {
	case f.Lost != nil:
		key = f.Lost.First
	case f.Counts != nil:
		key = f.Counts.First
	}
	var tree tree
	switch {
	case part == "mappings" && len(f.Devices) > 0:
		got := r.device(ctx, top.block.nr, f.Devices[0], &key)
		return got.pages
	case strings.Contains(part, "top level"):
		tree = topLevel
	case part == "device details":
		tree = details
		if f.Lost == nil && len(f.Devices) > 0 {
			key = uint64(f.Devices[0])
		}
	case strings.Contains(part, "metadata space map"):
		tree = metaIndex
	case strings.Contains(part, "data space map"):
		tree = dataIndex
	default:
		return pages
	}
	bitmaps := tree == metaIndex || tree == dataIndex
	if bitmaps && f.Counts == nil && f.Block == nil {
		return pages
	}
	pages, err = r.field(pages, tree)
	if err != nil {
		return pages
	}
	if !bitmaps {
		return r.descend(ctx, pages, key)
	}
	pages = r.descend(ctx, pages, key/spacemap.PerBitmap)
	last := &pages[len(pages)-1]
	last.selectKey(key / spacemap.PerBitmap)
	if row := last.selected(); row != nil && row.to != nil {
		pages = append(pages, r.page(*row.to))
		pages[len(pages)-1].selectKey(key)
	}
	return pages
}
