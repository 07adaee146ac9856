package repair

import (
	"errors"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/btree"
)

// mend closes the holes of p.
func (f *finder) mend(p *pool) error {
	if err := f.outlaws(p); err != nil {
		return err
	}
	for i := range p.devices {
		if d := &p.devices[i]; d.hasDetails {
			f.now[d.ID] = d.Details
		}
	}
	c := f.countMetadata()
	if err := f.findRoots(p, c); err != nil {
		return err
	}
	if err := f.readMappings(p); err != nil {
		return err
	}
	if err := f.fillFromOrphans(p, c); err != nil {
		return err
	}
	if err := f.outlaws(p); err != nil { // those of leaves that were found again
		return err
	}
	m := newMender(f, p.forest)
	roots := m.roots(p)
	if err := f.fillFromOlder(p, m, roots); err != nil {
		return err
	}
	for i := range p.devices {
		d := &p.devices[i]
		p.lost[d.ID] = m.below(roots[i])
		t, ok, err := m.rebuild(roots[i])
		if err != nil {
			return err
		}
		if !ok {
			t.block, err = f.emptyLeaf()
		}
		if err != nil {
			return err
		}
		d.Root, d.hasRoot = t.block, true
	}
	f.reopen()
	if err := f.readMappings(p); err != nil {
		return err
	}
	if p.broken {
		return errors.New("internal error: the mended mapping trees are not whole")
	}
	return f.findDetails(p)
}

// emptyLeaf returns a leaf without mappings.
func (f *finder) emptyLeaf() (block.Nr, error) {
	return btree.Build(f.view, metadata.MappingSize, 0, nil)
}

// outlaws takes mappings beyond the data device out of their leaves.
func (f *finder) outlaws(p *pool) error {
	if len(p.beyond) == 0 {
		return nil
	}
	for _, o := range p.beyond {
		var b, mended block.Data
		if err := f.r.Read(o.block, &b); err != nil {
			return err
		}
		n, err := btree.Decode(o.block, &b, metadata.MappingSize)
		if err != nil {
			return err
		}
		d := btree.NewDraft(&mended, true, metadata.MappingSize)
		for i := range min(n.Len(), btree.MaxEntries(metadata.MappingSize)) {
			if data, _ := metadata.UnpackMapping(n.Uint64(i)); uint64(data) < f.nrDataBlocks() {
				d.AddUint64(n.Key(i), n.Uint64(i))
			}
		}
		d.Seal(o.block)
		f.view.Put(o.block, &mended)
		f.note("block %d: left out %d mappings to data blocks beyond the end of the data device", o.block, o.n)
	}
	f.reopen()
	return f.readMappings(p)
}
