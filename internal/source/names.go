package source

import "thinpool/metadata"

// deviceNames are the volumes of the pool by their device ids.
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

// Name is what LVM calls a device of the pool; nil if it knows nothing about the pool.
func (p *Place) Name() func(metadata.DevID) string {
	names := p.deviceNames()
	if names == nil {
		return nil
	}
	return func(id metadata.DevID) string { return names[id] }
}
