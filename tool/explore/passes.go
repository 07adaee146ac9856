package explore

import (
	"context"
	"errors"
	"fmt"

	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/tool/delta"
	"thinpool/tool/repair"
	"thinpool/tool/rmap"
)

// counts shows what the space maps count for the subject of the page and the row.
func (m Model) counts() (Model, Effects) {
	nr, isBlock := m.subject()
	sel := m.page().selected()
	if !isBlock && (sel == nil || sel.data == nil) {
		return m.say("c shows the count of a block: select one first"), Effects{}
	}
	return m.read(func(_ context.Context, r *reader) found {
		c := r.block(metadata.SuperblockLocation)
		if c.kind != survey.Superblock {
			return found{err: errors.New("the superblock cannot be read, so the space maps are not known")}
		}
		p := page{title: "reference counts", notes: []string{"counts as the space maps have them", "o counts the pointers to a block, r the mappings of a data block"}}
		add := func(name string, n uint64, data bool) {
			count, bitmap, err := r.stored(&c.super, n, data)
			line := row{text: fmt.Sprintf("%s %d: count %d", name, n, count), key: &n}
			if err != nil {
				line.text, line.bad = fmt.Sprintf("%s %d: %s", name, n, plainError(err)), true
			}
			if bitmap.nr != 0 {
				line.about = []string{fmt.Sprintf("bitmap %d, count %d in it", bitmap.num, n%spacemap.PerBitmap)}
				line.to = &bitmap
			}
			if data {
				line.data = &dataRun{metadata.DataBlock(n), 1}
			}
			p.rows = append(p.rows, line)
		}
		if isBlock {
			add("block", uint64(nr), false)
		}
		if sel != nil && sel.to != nil && sel.to.nr != nr {
			add("block", uint64(sel.to.nr), false)
		}
		if sel != nil && sel.data != nil {
			for i := range min(sel.data.n, 100) {
				add("data block", uint64(sel.data.first)+i, true)
			}
		}
		p.align()
		return found{pages: []page{p}, push: true, blocks: r.read}
	})
}

// mappers finds the devices that map the data blocks of the selected row.
func (m Model) mappers() (Model, Effects) {
	sel := m.page().selected()
	if sel == nil || sel.data == nil {
		return m.say("r finds who maps data blocks: select a mapping, or : data 100"), Effects{}
	}
	return m.whoMaps(*sel.data)
}

// errEnough ends a pass that has found as much as the screen shows.
var errEnough = errors.New("enough")

func (m Model) whoMaps(run dataRun) (Model, Effects) {
	what := "data " + span(uint64(run.first), run.n)
	return m.start("who maps "+what, func(ctx context.Context, r *reader) found {
		pool, err := r.pool()
		if err != nil {
			return found{err: err}
		}
		p := page{title: "who maps " + what, none: "no device maps it"}
		opt := rmap.Options{Regions: []rmap.Region{{Begin: run.first, End: run.first + metadata.DataBlock(run.n)}}, Progress: r.progress}
		err = rmap.Run(ctx, pool, opt, func(rows []rmap.Row) error {
			for _, found := range rows {
				if len(p.rows) == mostRows {
					p.notes = append(p.notes, fmt.Sprintf("only the first %d are listed", mostRows))
					return errEnough
				}
				thin, name := uint64(found.Thin), namer(r.opt.Name).label(found.ID)
				p.rows = append(p.rows, row{
					text:  fmt.Sprintf("%s\tthin %s\tdata %s", name, span(thin, found.Len), span(uint64(found.Data), found.Len)),
					about: []string{name, "thin " + span(thin, found.Len), "data " + span(uint64(found.Data), found.Len), "Enter goes to the mapping"},
					data:  &dataRun{found.Data, found.Len},
					run:   func(m Model) (Model, Effects) { return m.toMapping(found.ID, thin) },
				})
			}
			return nil
		})
		p.notes = append(p.notes, plural(uint64(len(p.rows)), "mapping")+" of these blocks")
		if err != nil && !errors.Is(err, errEnough) {
			p.notes = append(p.notes, "! "+plainError(err))
		}
		p.align()
		return found{pages: []page{p}, push: true}
	})
}

// pool opens the metadata as all tools do.
func (r *reader) pool() (*metadata.Pool, error) {
	return metadata.Open(r.opt.Device, metadata.Options{Snapshot: r.opt.Snapshot})
}

// toMapping goes to a device's mapping of a thin block, on top of the current page.
func (m Model) toMapping(id metadata.DevID, thin uint64) (Model, Effects) {
	top := m.super()
	return m.read(func(ctx context.Context, r *reader) found {
		f := r.device(ctx, top, id, &thin)
		f.push = true
		return f
	})
}

// places lists the places a path can begin at.
func (m Model) places() (Model, Effects) {
	return m.read(func(_ context.Context, r *reader) found {
		p := page{title: "where to begin", notes: []string{"superblocks, older states and faults"}}
		live := r.page(place{nr: metadata.SuperblockLocation, tree: superblocks, keys: btree.AllKeys})
		c := live.block
		if !r.opt.Snapshot { // the pool may be in use
			p.rows = append(p.rows, row{text: "superblock\t> block 0", to: live.place, bad: c.damaged(), about: c.summary()})
		}
		if held := c.super.HeldRoot; c.kind == survey.Superblock && held != 0 && held < r.limit {
			to := place{nr: held, tree: superblocks, keys: btree.AllKeys}
			p.rows = append(p.rows, row{text: fmt.Sprintf("metadata snapshot\t> block %d", held), to: &to})
		} else {
			p.rows = append(p.rows, row{text: "metadata snapshot\tnone"})
		}
		if !r.opt.Snapshot {
			p.rows = append(p.rows, row{text: "older states\treads all blocks", run: Model.states, about: []string{"what earlier transactions have left, as thin_repair --list-states has it"}})
		}
		p.rows = append(p.rows, row{text: "faults\tchecks all", run: Model.listFaults, about: []string{"what thin_check finds"}})
		p.align()
		return found{pages: []page{p}, push: true, blocks: r.read}
	})
}

// states lists what earlier transactions left.
func (m Model) states() (Model, Effects) {
	return m.start("older states", func(ctx context.Context, r *reader) found {
		all, _, err := repair.States(ctx, r.opt.Device, repair.Options{Progress: r.progress, Name: r.opt.Name})
		if err != nil {
			return found{err: err}
		}
		p := page{title: "states that are left", none: "no state was found"}
		for i, s := range all {
			text := fmt.Sprintf("%d\ttransaction %d\ttime %d\t%s", i+1, s.TransactionID, s.Time, plural(uint64(len(s.Devices)), "device"))
			if s.Current {
				text += ", current"
			}
			state := statePage(s, i+1, r.opt.Name)
			p.rows = append(p.rows, row{
				text: text, bad: !s.Whole, about: state.notes,
				run: func(m Model) (Model, Effects) { return m.show([]page{state}, true), Effects{} },
			})
		}
		p.notes = []string{"the numbers are those of thin_repair --list-states; --state N takes one"}
		p.align()
		return found{pages: []page{p}, push: true}
	})
}

// statePage lists the parts of a state.
func statePage(s *repair.State, n int, name namer) page {
	whole := "all of it can be read"
	if !s.Whole {
		whole = "! not all of it can be read"
	}
	p := page{title: fmt.Sprintf("state %d: transaction %d", n, s.TransactionID), notes: []string{"from the " + s.From.String(), plural(s.Mappings, "mapping"), whole}}
	add := func(text string, to place) {
		if to.nr != 0 {
			p.rows = append(p.rows, row{text: fmt.Sprintf("%s\t> block %d", text, to.nr), to: &to})
		}
	}
	add("mapping tree", place{nr: s.Mapping, tree: topLevel, keys: btree.AllKeys})
	add("device details", place{nr: s.Details, tree: details, keys: btree.AllKeys})
	add("metadata space map", place{nr: s.SpaceMap, tree: metaIndex, keys: btree.AllKeys})
	for _, d := range s.Devices[:min(len(s.Devices), mostRows)] {
		add(name.label(d.ID), place{nr: d.Root, tree: mappings, keys: btree.AllKeys, dev: &d.ID})
	}
	p.align()
	return p
}

// compare lists where another device differs, from the selected key on.
func (m Model) compare() (Model, Effects) {
	dev := m.device()
	if dev == nil {
		return m.say("d compares devices: go into the mappings of one first"), Effects{}
	}
	left, key := *dev, uint64(0)
	if sel := m.page().selected(); sel != nil && sel.key != nil {
		key = *sel.key
	}
	label := fmt.Sprintf("compare %s with device: ", namer(m.opt.Name).label(left))
	return m.ask(label, "", func(m Model, text string) (Model, Effects) {
		right, err := m.deviceNumber(text)
		if err != nil {
			return m.fail("%s", err), Effects{}
		}
		return m.difference(left, right, key)
	})
}

func (m Model) difference(left, right metadata.DevID, from uint64) (Model, Effects) {
	what := fmt.Sprintf("device %d and device %d", left, right)
	return m.start("comparing "+what, func(ctx context.Context, r *reader) found {
		pool, err := r.pool()
		if err != nil {
			return found{err: err}
		}
		a, errA := pool.MappingTree(left)
		b, errB := pool.MappingTree(right)
		if err := errors.Join(errA, errB); err != nil {
			return found{err: err}
		}
		p := page{title: fmt.Sprintf("%s, from thin block %d on", what, from), none: "they do not differ from here on"}
		err = delta.Run(ctx, pool, a, b, delta.Options{OmitSame: true, Data: true, Progress: r.progress}, func(ranges []delta.Range) error {
			for _, d := range ranges {
				begin := uint64(d.Begin)
				if begin+(d.Len-1) < from {
					continue
				}
				if len(p.rows) == mostRows {
					p.notes = append(p.notes, fmt.Sprintf("only the first %d are listed", mostRows))
					return errEnough
				}
				p.rows = append(p.rows, differenceRow(d, left, right))
			}
			return nil
		})
		p.notes = append(p.notes, fmt.Sprintf("first the data of device %d, then that of device %d", left, right))
		if err != nil && !errors.Is(err, errEnough) {
			p.notes = append(p.notes, "! "+plainError(err))
		}
		p.align()
		return found{pages: []page{p}, push: true}
	})
}

func differenceRow(d delta.Range, left, right metadata.DevID) row {
	begin, at := uint64(d.Begin), left
	l, r := "data "+span(uint64(d.Left), d.Len), "data "+span(uint64(d.Right), d.Len)
	switch d.Kind {
	case delta.LeftOnly:
		r = "not mapped"
	case delta.RightOnly:
		l, at = "not mapped", right
	}
	return row{
		text: fmt.Sprintf("thin %s\t%s\t%s", span(begin, d.Len), l, r), key: &begin,
		about: []string{plural(d.Len, "block"), fmt.Sprintf("device %d: %s", left, l), fmt.Sprintf("device %d: %s", right, r), "Enter goes to the mapping"},
		run:   func(m Model) (Model, Effects) { return m.toMapping(at, begin) },
	}
}
