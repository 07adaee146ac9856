package command

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/internal/lvmcheck"
	"thinpool/internal/lvmreport"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/ls"
)

// ThinVolumes is thin_volumes.
type ThinVolumes struct {
	cli.Common
	VG        string     `help:"Only this volume group: a name or an id." name:"vg" placeholder:"VG"`
	LV        string     `help:"List what is inside this volume, such as the disk of a virtual machine." name:"lv" placeholder:"VG/LV"`
	Inside    partition  `help:"With --lv: only this partition." placeholder:"N"`
	Segments  bool       `help:"Also list the segments of all volumes and where they are."`
	Exclusive bool       `help:"Show how much of each thin volume is not shared; reads all mappings."`
	Text      bool       `help:"Print the current LVM metadata of the group as text."`
	History   bool       `help:"List all versions of the LVM metadata that are still on the disks."`
	Seqno     textNumber `help:"With --history: print this version, for vgcfgrestore; N.K if N is ambiguous." placeholder:"N"`
	Format    string     `help:"Output format." default:"text" enum:"text,json" placeholder:"text|json"`
	Input     []string   `arg:"" help:"Disks, partitions, or images of them." name:"image"`
	images
}

// Details implements cli.Detailer.
func (t *ThinVolumes) Details() string {
	return `Shows what pvs, vgs and lvs -a would show, and what the metadata of the pools holds. Names
of volumes that LVM hides are in brackets. Neither LVM nor the kernel is needed.`
}

// Examples implements cli.Exampler.
func (t *ThinVolumes) Examples() string {
	return `# List everything on two disks of a volume group
thin_volumes /dev/sdb /dev/sdc
# List old versions of the LVM metadata
thin_volumes --history disk.img
# Save version 15, for vgcfgrestore --force -f vg.text vg
thin_volumes --history --seqno 15 disk.img >vg.text`
}

// A textNumber is a sequence number and, if several texts share it, which one of them.
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
		return fmt.Errorf("%q is not a sequence number: want N, or N.K", text)
	}
	return nil
}

// Rules implements cli.Ruler.
func (t *ThinVolumes) Rules() []cli.Rule {
	return []cli.Rule{
		cli.Requires("seqno", "history"),
		cli.Requires("inside", "lv"),
		cli.Exclusive("text", "history"),
		{If: []string{"format=json"}, Not: []string{"text", "seqno"}, Why: "the text is printed unchanged"},
	}
}

// Run implements cli.Command.
func (t *ThinVolumes) Run(env *cli.Env) error {
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

// A partition is a partition number; 0: none.
type partition uint16

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *partition) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a partition number", text)
	}
	*p = partition(n)
	return nil
}

// look opens the images and, if asked, a volume inside them. busy means that disks are in use and
// may change.
func (t *ThinVolumes) look(env *cli.Env) (p *source.Disks, busy bool, err error) {
	p, err = source.OpenDisks(env, t.Input, t.images.open(), disk.Options{})
	if errors.Is(err, block.ErrBusy) {
		busy = true
		p, err = source.OpenDisks(env, t.Input, t.images.open(), disk.Options{Shared: true})
	}
	if err != nil {
		return nil, busy, err
	}
	if t.LV != "" {
		if err := p.Enter(env, t.LV, int(t.Inside)); err != nil {
			return nil, busy, errors.Join(err, p.Close())
		}
	}
	if !slices.ContainsFunc(lvmreport.PVs(p.Set), func(pv lvmreport.PV) bool { return pv.Disk != nil }) {
		err := source.Because(fmt.Errorf("%s: no LVM physical volume was found", strings.Join(t.Input, ", ")), p.Problems)
		return nil, busy, errors.Join(err, p.Close())
	}
	return p, busy, nil
}

// groups returns the requested groups.
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

// list lists everything. Unreadable pool metadata is reported but is not a failure. A physical
// volume that LVM could not use is a failure.
func (t *ThinVolumes) list(env *cli.Env, p *source.Disks, busy bool) error {
	groups, err := t.groups(p)
	if err != nil {
		return err
	}
	a := view.Volumes{Groups: groups, Problems: p.Problems}
	unusable := 0
	for _, pv := range lvmreport.PVs(p.Set) {
		if pv.Group == nil && slices.Contains(pv.Problems, lvmreport.BadArea) {
			unusable++
		}
		if t.VG == "" || slices.Contains(groups, pv.Group) {
			a.PVs = append(a.PVs, pv)
		}
	}
	for _, g := range groups {
		if err := t.addVolumes(env, &a, g, busy); err != nil {
			return err
		}
	}
	if t.Format == "json" {
		err = a.JSON(env.Stdout)
	} else {
		err = t.print(env, &a)
	}
	if err == nil && unusable > 0 {
		err = errors.New("some physical volumes have no readable LVM metadata, so their volume group is unknown")
	}
	return err
}

// print prints tables for people, and problems on standard error.
func (t *ThinVolumes) print(env *cli.Env, a *view.Volumes) error {
	if err := a.Text(env.Stdout, view.VolumesText{Keys: t.Verbose > 0, Segments: t.Segments}); err != nil {
		return err
	}
	source.SayProblems(env, a.Problems)
	a.Differences(env.Stderr)
	return nil
}

// addVolumes adds the volumes of a group, sorted by name.
func (t *ThinVolumes) addVolumes(env *cli.Env, a *view.Volumes, g *lvm.Group, busy bool) error {
	states := map[string]*view.PoolState{}
	for _, v := range g.LVs {
		if v.ThinPool() == nil {
			continue
		}
		state := &view.PoolState{Volume: v}
		if states[v.Name] = state; busy {
			state.Err = errors.New("the disk is in use: its metadata may change at any time")
			continue
		}
		env.Progress("reading "+g.Name+"/"+v.Name, 0, 0)
		state.Err = t.readPool(env, g, state)
		if err := env.Err(); err != nil {
			return err
		}
	}
	partial := lvmreport.Partial(g)
	sorted := slices.SortedFunc(slices.Values(g.LVs), func(a, b *lvm.Volume) int { return cmp.Compare(a.Name, b.Name) })
	known := map[*ls.Row]bool{}
	for _, v := range sorted {
		row := view.VolumeRow{Group: g, Volume: v, Partial: partial[v], Pool: states[v.Name]}
		if thin := v.Thin(); thin != nil {
			row.Pool = states[thin.Pool]
			row.Device = row.Pool.Find(thin.DeviceID)
			known[row.Device] = true
		}
		a.Rows = append(a.Rows, row)
	}
	for _, v := range sorted {
		state := states[v.Name]
		if state == nil {
			continue
		}
		for i := range state.Devices {
			if d := &state.Devices[i]; !known[d] {
				a.Rows = append(a.Rows, view.VolumeRow{Group: g, Pool: state, Device: d})
			}
		}
	}
	a.Problems = append(slices.Clip(a.Problems), g.Problems...)
	return nil
}

// readPool reads as much of a pool's metadata as possible.
func (t *ThinVolumes) readPool(env *cli.Env, g *lvm.Group, p *view.PoolState) error {
	name := p.Volume.ThinPool().Metadata
	on := g.Volume(name)
	if on == nil {
		return fmt.Errorf("its metadata volume %s is missing", name)
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
	p.Superblock = &pool.Superblock
	var devices []metadata.Device
	for d, err := range pool.Devices(env) {
		if err != nil {
			return source.Damaged(err)
		}
		devices = append(devices, d)
		p.Devices = append(p.Devices, ls.Row{Device: d})
	}
	p.Differs = lvmcheck.Pool{Group: g, Volume: p.Volume, Superblock: pool.Superblock, Devices: devices}.Compare()
	if !t.Exclusive {
		return nil
	}
	rows, err := ls.Run(env, pool, ls.Options{Sharing: true, Progress: env.Progress})
	if err != nil {
		return source.Damaged(err)
	}
	p.Devices, p.Sharing = rows, true
	return nil
}
