package command

import (
	"errors"
	"fmt"
	"strings"

	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/tool/repair"
)

// A place is where in a volume group metadata is.
type place struct {
	images []*lvm.Image
	set    *lvm.Set
	group  *lvm.Group
	pool   *lvm.Volume // nil: LVM does not know that this is metadata
	thin   *lvm.Volume // in the pool, that was asked for; nil: none
	volume *lvm.Volume // that has the metadata
}

// Close closes the images.
func (p *place) Close() error {
	var err error
	for _, img := range p.images {
		err = errors.Join(err, img.Close())
	}
	return err
}

// choose finds the volume with the metadata: of the pool or volume that lv names, or
// of the only pool.
func (p *place) choose(path, lv string) error {
	switch {
	case len(p.set.Groups) == 0:
		return because(fmt.Errorf("%s: %w", path, errNoVolumes), p.set.Problems)
	case lv == "":
		return p.onlyPool()
	}
	v, err := p.lookUp(lv)
	if err != nil {
		return err
	}
	return p.metadataOf(v)
}

// because is an error with the problems that explain it.
func because(err error, problems []lvm.Problem) error {
	why := []error{err}
	for _, problem := range problems {
		why = append(why, errors.New(printable.Text(problem.Text)))
	}
	return errors.Join(why...)
}

// onlyPool chooses the only pool that there is.
func (p *place) onlyPool() error {
	var pools, others []string
	for _, g := range p.set.Groups {
		for _, v := range g.LVs {
			switch {
			case v.ThinPool() != nil:
				pools = append(pools, g.Name+"/"+v.Name)
				p.group, p.pool = g, v
			case v.Visible():
				others = append(others, g.Name+"/"+v.Name)
			}
		}
	}
	switch len(pools) {
	case 1:
		return p.metadataOf(p.pool)
	case 0:
		return fmt.Errorf("LVM has no thin pool here; --lv VG/LV reads metadata from any volume: %s", list(others))
	}
	return fmt.Errorf("which pool? --lv VG/POOL takes one of %s", list(pools))
}

// lvmFacts is what LVM knows of the pool that p is the metadata of; nil if it knows
// nothing of it.
func (p *place) lvmFacts() *repair.LVM {
	if p == nil || p.pool == nil {
		return nil
	}
	pool := p.pool.ThinPool()
	facts := &repair.LVM{ChunkSize: pool.ChunkSize, TransactionID: pool.TransactionID, Volumes: map[metadata.DevID]repair.LVMThin{}}
	creates := map[string]bool{}
	for _, m := range pool.Messages {
		creates[m.Create] = true
	}
	if len(pool.Messages) > 0 { // LVM sends them when it activates the pool, then counts on
		facts.TransactionID--
	}
	const sector = 512
	if data := p.group.Volume(pool.Data); data != nil && pool.ChunkSize > 0 {
		facts.DataBlocks = uint64(data.Size) / sector / pool.ChunkSize
	}
	for _, v := range p.group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.pool.Name && t.DeviceID <= metadata.MaxDevID && !creates[v.Name] {
			facts.Volumes[metadata.DevID(t.DeviceID)] = repair.LVMThin{Name: p.group.Name + "/" + v.Name, TransactionID: t.TransactionID}
		}
	}
	return facts
}

// list lists names, as far as they fit a message.
func list(names []string) string {
	const most = 20
	switch {
	case len(names) == 0:
		return "(there is none)"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// lookUp finds the volume VG/LV; LV alone will do if there is only one of that name.
func (p *place) lookUp(name string) (*lvm.Volume, error) {
	name = strings.TrimPrefix(name, "/dev/")
	vg, lv, ok := strings.Cut(name, "/")
	if ok {
		g, err := p.set.Group(vg)
		if err != nil {
			return nil, fmt.Errorf("--lv %s: %w", name, err)
		}
		if p.group = g; g.Volume(lv) == nil {
			return nil, fmt.Errorf("--lv %s: group %s has no such volume; it has %s", name, g.Name, list(names(g)))
		}
		return g.Volume(lv), nil
	}
	var found *lvm.Volume
	for _, g := range p.set.Groups {
		if v := g.Volume(name); v != nil {
			if found != nil {
				return nil, fmt.Errorf("--lv %s: several groups have a volume of that name: give VG/%s", name, name)
			}
			p.group, found = g, v
		}
	}
	if found == nil {
		return nil, fmt.Errorf("--lv %s: there is no such volume", name)
	}
	return found, nil
}

func names(g *lvm.Group) []string {
	var all []string
	for _, v := range g.LVs {
		all = append(all, v.Name)
	}
	return all
}

// metadataOf chooses the metadata of a pool, of the pool of a thin volume, or what a
// volume has, of which LVM may know whose metadata it is.
func (p *place) metadataOf(v *lvm.Volume) error {
	if t := v.Thin(); t != nil {
		p.thin = v
		if v = p.group.Volume(t.Pool); v == nil || v.ThinPool() == nil {
			return fmt.Errorf("%s: the pool %s is not there", p.group.Name, t.Pool)
		}
	}
	if t := v.ThinPool(); t != nil {
		p.pool, p.volume = v, p.group.Volume(t.Metadata)
		if p.volume == nil {
			return fmt.Errorf("%s/%s: its metadata %s is not there", p.group.Name, v.Name, t.Metadata)
		}
		return nil
	}
	p.volume = v
	for _, pool := range p.group.LVs {
		if t := pool.ThinPool(); t != nil && t.Metadata == v.Name {
			p.pool = pool
		}
	}
	return nil
}
