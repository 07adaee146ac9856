package lvmreport

import "thinpool/lvm"

// A Part is where what a segment lies on begins: an extent of a physical volume, or of a
// logical one.
type Part struct {
	PV    *lvm.PhysicalVolume // nil for a logical volume
	Name  string              // of either
	First uint64
}

// Parts returns what lvs calls the devices of a segment of g: stripes, legs, images; the data
// of a pool; the origin of a cache. Thin volumes have none.
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

// onPVs reports whether names in a segment are looked up among the physical volumes first;
// those in RAID sets are of logical volumes.
func onPVs(s *lvm.Segment) bool {
	switch s.Type {
	case "striped", "linear", "mirror":
		return true
	}
	return false
}

// below are the keys of segments that name volumes which its content lies on. The origin of a
// thin volume is only where it comes from.
var below = []string{
	"metadata", "pool", "thin_pool", "external_origin", "data", "cache_pool", "cow_store", "merging_store",
	"writecache", "meta_dev", "mirror_log", "vdo_pool", "origin",
}

// Partial returns the volumes that lie, wholly or in part, on physical volumes that are not
// there. Some may be readable all the same: mirrors, RAID sets.
func Partial(g *lvm.Group) map[*lvm.Volume]bool {
	partial := map[*lvm.Volume]bool{}
	above := map[*lvm.Volume][]*lvm.Volume{} // what lies on a volume
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
