package source

import (
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/lvmthin"
	"thinpool/lvm"
)

// Enter opens a volume, VG/LV, that is itself a disk, such as that of a virtual machine. From then
// on, d is what LVM has on that disk, or in one of its partitions if partition is not 0.
func (d *Disks) Enter(env *cli.Env, lv string, partition int) error {
	p := &Place{Disks: d}
	if len(p.Groups) == 0 {
		return Because(fmt.Errorf("--lv %s: %w", lv, ErrNoVolumes), p.Problems)
	}
	v, err := p.lookUp(lv)
	if err != nil {
		return err
	}
	SayProblems(env, append(p.Problems, p.Group.Problems...))
	r, err := lvmthin.Open(env, p.Group, v, lvmthin.Options{Leg: d.how.Leg, Note: func(text string) { env.Log.Info(text) }})
	if err != nil {
		return Damaged(err)
	}
	on := firstDisk(p.Group)
	if on == nil {
		return fmt.Errorf("%s/%s: none of its physical volumes were found", p.Group.Name, v.Name)
	}
	inner := on.On.Over(p.Group.Name+"/"+v.Name, r, r.Size())
	if partition != 0 {
		if inner, err = inner.Part(partition); err != nil {
			return err
		}
		d.Part = inner
	}
	d.Set, err = lvm.Scan(env, lvm.Options{How: d.how}, inner)
	return err
}

// firstDisk returns the first disk of a group that exists.
func firstDisk(g *lvm.Group) *lvm.Disk {
	for _, pv := range g.PVs {
		if pv.Disk != nil {
			return pv.Disk
		}
	}
	return nil
}
