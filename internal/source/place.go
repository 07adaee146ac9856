package source

import (
	"errors"
	"fmt"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/lvmreport"
	"thinpool/internal/printable"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/repair"
)

// A Place is the location of metadata in a volume group.
type Place struct {
	*Disks
	Group  *lvm.Group
	Pool   *lvm.Volume // nil: LVM does not know that this is metadata
	Thin   *lvm.Volume // the requested volume in the pool; nil: none
	Volume *lvm.Volume // the volume with the metadata
}

// choose finds the volume with the metadata: that of the pool or volume lv, or of the only pool.
func (p *Place) choose(path, lv string) error {
	switch {
	case len(p.Groups) == 0:
		return Because(fmt.Errorf("%s: %w", path, ErrNoVolumes), p.Problems)
	case lv == "":
		return p.onlyPool()
	}
	v, err := p.lookUp(lv)
	if err != nil {
		return err
	}
	return p.metadataOf(v)
}

// Because joins an error with the problems that explain it.
func Because(err error, problems []lvm.Problem) error {
	why := []error{err}
	for _, problem := range problems {
		why = append(why, errors.New(printable.Text(problem.Text)))
	}
	return errors.Join(why...)
}

// onlyPool selects the only pool.
func (p *Place) onlyPool() error {
	var pools, others []string
	for _, g := range p.Groups {
		for _, v := range g.LVs {
			switch {
			case v.ThinPool() != nil:
				pools = append(pools, g.Name+"/"+v.Name)
				p.Group, p.Pool = g, v
			case v.Visible():
				others = append(others, g.Name+"/"+v.Name)
			}
		}
	}
	switch len(pools) {
	case 1:
		return p.metadataOf(p.Pool)
	case 0:
		if v := p.foreignPool(); v != "" {
			return fmt.Errorf("%s is a QNAP tier-thin-pool, which only a QNAP NAS can read; use --lv VG/LV to read another volume: %s", v, List(others))
		}
		return fmt.Errorf("LVM has no thin pool here; use --lv VG/LV to read metadata from another volume: %s", List(others))
	}
	return fmt.Errorf("which pool? Choose one with --lv VG/POOL: %s", List(pools))
}

// foreignPool returns the first pool of a type that is not LVM's own; empty if there is none.
func (p *Place) foreignPool() string {
	for _, g := range p.Groups {
		for _, v := range g.LVs {
			if v.Type() == "tier-thin-pool" {
				return g.Name + "/" + v.Name
			}
		}
	}
	return ""
}

// Facts returns what LVM knows about the pool with the metadata p; nil if nothing.
func (p *Place) Facts() *repair.LVM {
	if p == nil || p.Pool == nil {
		return nil
	}
	pool := p.Pool.ThinPool()
	facts := &repair.LVM{ChunkSize: pool.ChunkSize, TransactionID: pool.TransactionID, Volumes: map[metadata.DevID]repair.LVMThin{}}
	creates := map[string]bool{}
	for _, m := range pool.Messages {
		creates[m.Create] = true
	}
	if len(pool.Messages) > 0 { // LVM sends them on activation, then raises the id in the pool
		facts.TransactionID--
	}
	if data := p.Group.Volume(pool.Data); data != nil && pool.ChunkSize > 0 {
		facts.DataBlocks = uint64(data.Size) / block.SectorSize / pool.ChunkSize
	}
	for _, v := range p.Group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.Pool.Name && t.DeviceID <= metadata.MaxDevID && !creates[v.Name] {
			facts.Volumes[metadata.DevID(t.DeviceID)] = repair.LVMThin{Name: p.Group.Name + "/" + v.Name, TransactionID: t.TransactionID}
		}
	}
	return facts
}

// List joins names, as many as fit in a message.
func List(names []string) string {
	const most = 20
	switch {
	case len(names) == 0:
		return "(there is none)"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// lookUp finds the volume VG/LV. LV is enough if only one has that name.
func (p *Place) lookUp(name string) (*lvm.Volume, error) {
	name = strings.TrimPrefix(name, "/dev/")
	vg, lv, ok := strings.Cut(name, "/")
	if ok {
		g, err := p.Set.Group(vg)
		if err != nil {
			return nil, fmt.Errorf("--lv %s: %w", name, err)
		}
		if p.Group = g; g.Volume(lv) == nil {
			return nil, fmt.Errorf("--lv %s: volume group %s has no such volume; it has %s", name, g.Name, List(names(g)))
		}
		return g.Volume(lv), nil
	}
	var found *lvm.Volume
	for _, g := range p.Groups {
		if v := g.Volume(name); v != nil {
			if found != nil {
				return nil, fmt.Errorf("--lv %s: several volume groups have a volume of that name: give VG/%s", name, name)
			}
			p.Group, found = g, v
		}
	}
	if found == nil {
		return nil, fmt.Errorf("--lv %s: no such volume", name)
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

// metadataOf selects the metadata of a pool, of a thin volume's pool, or the volume itself. In the
// last case, LVM may know whose metadata it is.
func (p *Place) metadataOf(v *lvm.Volume) error {
	if t := v.Thin(); t != nil {
		p.Thin = v
		if v = p.Group.Volume(t.Pool); v == nil || v.ThinPool() == nil {
			return fmt.Errorf("%s: the pool %s is missing", p.Group.Name, t.Pool)
		}
	}
	if t := v.ThinPool(); t != nil {
		p.Pool, p.Volume = v, p.Group.Volume(t.Metadata)
		if p.Volume == nil {
			return fmt.Errorf("%s/%s: its metadata volume %s is missing", p.Group.Name, v.Name, t.Metadata)
		}
		return nil
	}
	p.Volume = v
	for _, pool := range p.Group.LVs {
		if t := pool.ThinPool(); t != nil && t.Metadata == v.Name {
			p.Pool = pool
		}
	}
	return nil
}

// ThinVolumes returns the names of the volumes in the pool.
func (p *Place) ThinVolumes() []string {
	var all []string
	for _, v := range p.Group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.Pool.Name {
			all = append(all, p.Group.Name+"/"+v.Name)
		}
	}
	return all
}

// ThinVolume returns the volume with a device id; nil if LVM knows none.
func (p *Place) ThinVolume(id uint64) *lvm.Volume {
	for _, v := range p.Group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.Pool.Name && t.DeviceID == id {
			return v
		}
	}
	return nil
}

// DevID returns the device id of the pool's volume with the name VG/LV.
func (p *Place) DevID(name string) (metadata.DevID, error) {
	if p == nil || p.Pool == nil {
		return 0, cli.Usagef("%s: volume names are known only on a disk or disk image with LVM on it: give the device id", name)
	}
	vg, lv, _ := strings.Cut(strings.TrimPrefix(name, "/dev/"), "/")
	if v := p.Group.Volume(lv); vg == p.Group.Name && v != nil {
		if t := v.Thin(); t != nil && t.Pool == p.Pool.Name && t.DeviceID <= metadata.MaxDevID {
			return metadata.DevID(t.DeviceID), nil
		}
	}
	known := p.ThinVolumes()
	return 0, fmt.Errorf("%s: the pool %s/%s has no such volume; it has %s%s", name, p.Group.Name, p.Pool.Name, List(known), cli.DidYouMean(name, known))
}

// complete refuses metadata that is partly on a missing physical volume: it would look damaged, but
// is not.
func (p *Place) complete(r *lvm.Reader) error {
	if !lvmreport.Partial(p.Group)[p.Volume] {
		return nil
	}
	const most = 1 << 16 // number of positions to read
	step := max(int64(p.Group.ExtentSize)*block.SectorSize, r.Size()/most, block.Size)
	sector := make([]byte, block.SectorSize)
	for at := int64(0); at < r.Size(); at += step {
		_, err := r.ReadAt(sector, at)
		if _, ok := errors.AsType[*lvm.MissingError](err); ok {
			return cli.Accessf("%v: add its image with --pv IMAGE before you repair anything. If the disk is lost for good, thin_repair recovers what is left", err)
		}
	}
	return nil
}
