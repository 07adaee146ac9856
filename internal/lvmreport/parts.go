package lvmreport

import "thinpool/lvm"

// A Part is where an area under a segment starts: an extent of a physical or a logical volume.
type Part struct {
	PV    *lvm.PhysicalVolume // nil for a logical volume
	Name  string              // name of either
	First uint64
}

// Parts returns what lvs calls the devices of a segment of g: stripes, legs or images; the data
// volume of a pool; the origin of a cache. Thin volumes have none.
func Parts(g *lvm.Group, s *lvm.Segment) []Part {
	switch {
	case s.ThinPool != nil:
		return []Part{{Name: s.ThinPool.Data}}
	case s.Cache != nil:
		return []Part{{Name: s.Cache.Origin}}
	}
	var parts []Part
	for _, p := range s.Stripes {
		part := Part{Name: p.Name, First: p.First}
		if onPVs(s) {
			part.PV = g.PV(p.Name)
		}
		parts = append(parts, part)
	}
	return parts
}

// onPVs reports whether names in a segment refer to physical volumes first. In RAID sets they refer
// to logical volumes.
func onPVs(s *lvm.Segment) bool {
	switch s.Type {
	case "striped", "linear", "mirror":
		return true
	}
	return false
}

// below lists the keys of segments that name volumes under them. The origin of a thin volume is not
// among them: it only records where the volume comes from.
var below = []string{
	"metadata", "pool", "thin_pool", "external_origin", "data", "cache_pool", "cow_store", "merging_store",
	"writecache", "meta_dev", "mirror_log", "vdo_pool", "origin",
}

// Partial returns the volumes that use missing physical volumes, directly or indirectly. Some may
// still be readable: mirrors and RAID sets.
func Partial(g *lvm.Group) map[*lvm.Volume]bool {
	partial := map[*lvm.Volume]bool{}
	above := map[*lvm.Volume][]*lvm.Volume{} // volumes on top of a volume
	var todo []*lvm.Volume
	mark := func(v *lvm.Volume) {
		if !partial[v] {
			partial[v] = true
			todo = append(todo, v)
		}
	}
	for _, v := range g.LVs {
		for i := range v.Segments {
			s := &v.Segments[i]
			names := append([]string(nil), s.Metas...)
			for _, p := range Parts(g, s) {
				if p.PV == nil {
					names = append(names, p.Name)
				} else if p.PV.Disk == nil {
					mark(v)
				}
			}
			for _, key := range below {
				if name, ok, err := s.Section.Str(key); ok && err == nil && !(s.Thin != nil && key == "origin") {
					names = append(names, name)
				}
			}
			for _, name := range names {
				if on := g.Volume(name); on != nil {
					above[on] = append(above[on], v)
				}
			}
		}
	}
	for len(todo) > 0 {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, a := range above[v] {
			mark(a)
		}
	}
	return partial
}
