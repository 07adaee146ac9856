package source

import "thinpool/metadata"

// deviceNames returns the names of the pool's volumes by device id.
func (p *Place) deviceNames() map[metadata.DevID]string {
	if p == nil || p.Pool == nil {
		return nil
	}
	all := map[metadata.DevID]string{}
	for _, v := range p.Group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.Pool.Name && t.DeviceID <= metadata.MaxDevID {
			all[metadata.DevID(t.DeviceID)] = p.Group.Name + "/" + v.Name
		}
	}
	return all
}

// Name returns a function that gives LVM's name for a device of the pool; nil if the pool is
// unknown to LVM.
func (p *Place) Name() func(metadata.DevID) string {
	names := p.deviceNames()
	if names == nil {
		return nil
	}
	return func(id metadata.DevID) string { return names[id] }
}
