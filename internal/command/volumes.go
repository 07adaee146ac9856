package command

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/lvmcheck"
	"thinpool/internal/lvmreport"
	"thinpool/internal/source"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/ls"
)

// ThinVolumes is thin_volumes.
type ThinVolumes struct {
	cli.Common
	VG        string     `help:"Only this volume group: a name or an id." name:"vg" placeholder:"VG"`
	Segments  bool       `help:"List the segments of all volumes, too, and what they lie on."`
	Exclusive bool       `help:"Say how much of each thin volume is its own: reads all mappings."`
	Text      bool       `help:"Print the text of the group as LVM has it now."`
	History   bool       `help:"List the texts, old ones too, that are still on the disks."`
	Seqno     textNumber `help:"With --history: print this text, for vgcfgrestore. N.K if there are several of one number." placeholder:"N"`
	Format    string     `help:"text or json (an object a line)." default:"text" enum:"text,json" placeholder:"text|json"`
	Input     []string   `arg:"" help:"Disks, partitions, or images of them." name:"image"`
	images
}

// Details implements cli.Detailer.
func (t *ThinVolumes) Details() string {
	return `Says what pvs, vgs and lvs -a would say, and what the metadata of the pools says. Volumes
that LVM keeps to itself are in brackets. --history --seqno N prints an older text; to go back to it:
  thin_volumes --history --seqno N IMAGE... >FILE; vgcfgrestore --force -f FILE VG`
}

// A textNumber is the sequence number of a text, and which of those with that number.
type textNumber struct {
	seqno   uint64
	variant int
	set     bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *textNumber) UnmarshalText(text []byte) error {
	nr, variant, several := strings.Cut(string(text), ".")
	var err, bad error
	n.set = true
	n.seqno, err = strconv.ParseUint(nr, 10, 64)
	if several {
		n.variant, bad = strconv.Atoi(variant)
	}
	if err != nil || bad != nil || several && n.variant < 1 {
		return fmt.Errorf("%q is no number of a text: want N, or N.K", text)
	}
	return nil
}

// Run implements cli.Command.
func (t *ThinVolumes) Run(env *cli.Env) error {
	switch {
	case t.Seqno.set && !t.History:
		return cli.Usagef("--seqno needs --history")
	case t.Text && t.History:
		return cli.Usagef("--text and --history do not go together")
	case t.Format == "json" && (t.Text || t.Seqno.set):
		return cli.Usagef("a text is printed as it is: --format json does not go with it")
	}
	p, busy, err := t.look(env)
	if err != nil {
		return err
	}
	defer p.Close()
	switch {
	case t.Text:
		return t.printText(env, p)
	case t.History:
		return t.printHistory(env, p)
	}
	return t.list(env, p, busy)
}

// look opens the images. busy says that disks are in use, and what is on them may change.
func (t *ThinVolumes) look(env *cli.Env) (p *source.Disks, busy bool, err error) {
	p, err = source.OpenDisks(env, t.Input, t.images.open(), lvm.ImageOptions{})
	if errors.Is(err, block.ErrBusy) {
		busy = true
		p, err = source.OpenDisks(env, t.Input, t.images.open(), lvm.ImageOptions{Shared: true})
	}
	if err != nil {
		return nil, busy, err
	}
	if !slices.ContainsFunc(lvmreport.PVs(p.Set), func(pv lvmreport.PV) bool { return pv.Disk != nil }) {
		err := source.Because(fmt.Errorf("%s: no LVM physical volume was found", strings.Join(t.Input, ", ")), p.Problems)
		return nil, busy, errors.Join(err, p.Close())
	}
	return p, busy, nil
}

// groups are those that were asked for.
func (t *ThinVolumes) groups(p *source.Disks) ([]*lvm.Group, error) {
	if t.VG == "" {
		return p.Groups, nil
	}
	g, err := p.Group(t.VG)
	if err != nil {
		return nil, fmt.Errorf("--vg %s: %w", t.VG, err)
	}
	return []*lvm.Group{g}, nil
}

// printText prints the text of the only group.
func (t *ThinVolumes) printText(env *cli.Env, p *source.Disks) error {
	groups, err := t.groups(p)
	if err != nil {
		return err
	}
	switch len(groups) {
	case 1:
		source.SayProblems(env, slices.Concat(p.Problems, groups[0].Problems))
		_, err := env.Product.Write(groups[0].Text)
		return err
	case 0:
		return source.Because(fmt.Errorf("%s: %w", strings.Join(t.Input, ", "), source.ErrNoVolumes), p.Problems)
	}
	var known []string
	for _, g := range groups {
		known = append(known, g.Name+" ("+g.ID+")")
	}
	return fmt.Errorf("which group? --vg VG takes one of %s", source.List(known))
}

// A volumeRow is a logical volume and, if it is a pool or a thin volume, what the metadata
// says of it; or a device of a pool that LVM does not know.
type volumeRow struct {
	group   *lvm.Group
	volume  *lvm.Volume // nil: LVM does not know it
	partial bool
	pool    *poolState // of a pool, or of the pool that the device is in
	device  *ls.Row    // of a thin volume; nil if the pool does not have it
}

// A poolState is what the metadata of a pool says.
type poolState struct {
	volume     *lvm.Volume
	superblock *metadata.Superblock // nil: it cannot be read
	devices    []ls.Row             // as far as they can be read
	sharing    bool                 // it is known what is exclusive
	err        error                // why not all can be read
	differs    []lvmcheck.Difference
}

// waiting reports whether the messages in the text are still to be sent: LVM raises its
// transaction id first, and the pool's when they are done.
func (p *poolState) waiting() bool {
	return p.superblock == nil || p.superblock.TransactionID != p.volume.ThinPool().TransactionID
}

// An account is all that there is to list.
type account struct {
	groups   []*lvm.Group
	pvs      []lvmreport.PV
	rows     []volumeRow // by group and name
	problems []lvm.Problem
}

// list lists everything. What cannot be read of a pool is said, and is no failure; that LVM
// could make nothing of a physical volume is one.
func (t *ThinVolumes) list(env *cli.Env, p *source.Disks, busy bool) error {
	groups, err := t.groups(p)
	if err != nil {
		return err
	}
	a := account{groups: groups, problems: p.Problems}
	unusable := 0
	for _, pv := range lvmreport.PVs(p.Set) {
		if pv.Group == nil && slices.Contains(pv.Problems, lvmreport.BadArea) {
			unusable++
		}
		if t.VG == "" || slices.Contains(groups, pv.Group) {
			a.pvs = append(a.pvs, pv)
		}
	}
	for _, g := range groups {
		if err := t.addVolumes(env, &a, g, busy); err != nil {
			return err
		}
	}
	if t.Format == "json" {
		err = a.printJSON(env.Stdout)
	} else {
		err = t.print(env, &a)
	}
	if err == nil && unusable > 0 {
		err = errors.New("there are physical volumes whose group is not known, as no text about it can be used")
	}
	return err
}

// addVolumes adds the volumes of a group, by their names.
func (t *ThinVolumes) addVolumes(env *cli.Env, a *account, g *lvm.Group, busy bool) error {
	states := map[string]*poolState{}
	for _, v := range g.LVs {
		if v.ThinPool() == nil {
			continue
		}
		state := &poolState{volume: v}
		if states[v.Name] = state; busy {
			state.err = errors.New("the disk is in use: what the metadata says may change at any time")
			continue
		}
		env.Progress("reading "+g.Name+"/"+v.Name, 0, 0)
		state.err = t.readPool(env, g, state)
		if err := env.Err(); err != nil {
			return err
		}
	}
	partial := lvmreport.Partial(g)
	sorted := slices.SortedFunc(slices.Values(g.LVs), func(a, b *lvm.Volume) int { return cmp.Compare(a.Name, b.Name) })
	known := map[*ls.Row]bool{}
	for _, v := range sorted {
		row := volumeRow{group: g, volume: v, partial: partial[v], pool: states[v.Name]}
		if thin := v.Thin(); thin != nil {
			row.pool = states[thin.Pool]
			row.device = row.pool.find(thin.DeviceID)
			known[row.device] = true
		}
		a.rows = append(a.rows, row)
	}
	for _, v := range sorted {
		state := states[v.Name]
		if state == nil {
			continue
		}
		for i := range state.devices {
			if d := &state.devices[i]; !known[d] {
				a.rows = append(a.rows, volumeRow{group: g, pool: state, device: d})
			}
		}
	}
	a.problems = append(slices.Clip(a.problems), g.Problems...)
	return nil
}

// find finds a device by its id; nil if it is not there.
func (p *poolState) find(id uint64) *ls.Row {
	if p == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(p.devices, id, func(r ls.Row, id uint64) int { return cmp.Compare(uint64(r.ID), id) })
	if !ok {
		return nil
	}
	return &p.devices[i]
}

// readPool reads what the metadata of a pool says, as far as that is possible.
func (t *ThinVolumes) readPool(env *cli.Env, g *lvm.Group, p *poolState) error {
	name := p.volume.ThinPool().Metadata
	on := g.Volume(name)
	if on == nil {
		return fmt.Errorf("its metadata %s is not there", name)
	}
	r, err := g.Open(on, lvm.ReadOptions{Leg: t.Leg})
	if err != nil {
		return err
	}
	for _, note := range r.Notes {
		env.Log.Info(note)
	}
	pool, err := metadata.Open(r.Device(), metadata.Options{})
	if err != nil {
		return err
	}
	p.superblock = &pool.Superblock
	var devices []metadata.Device
	for d, err := range pool.Devices(env) {
		if err != nil {
			return source.Damaged(err)
		}
		devices = append(devices, d)
		p.devices = append(p.devices, ls.Row{Device: d})
	}
	p.differs = lvmcheck.Pool{Group: g, Volume: p.volume, Superblock: pool.Superblock, Devices: devices}.Compare()
	if !t.Exclusive {
		return nil
	}
	rows, err := ls.Run(env, pool, ls.Options{Sharing: true, Progress: env.Progress})
	if err != nil {
		return source.Damaged(err)
	}
	p.devices, p.sharing = rows, true
	return nil
}
