package damage

import (
	"bytes"
	"slices"
	"strings"
	"sync"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// inHistory is the prefix of the names of images that end a history.
const inHistory = "history/"

// A past is the history of an image. It caches what was read, not the images: there are too many.
type past struct {
	*fixtures.History
	mu    sync.Mutex
	known map[int]knownCommit
}

type knownCommit struct {
	truth *Reading
	used  []block.Nr
}

// openHistory returns the image after the right commit of a history.
func openHistory(name string) (*Image, error) {
	h, err := fixtures.OpenHistory(name)
	if err != nil {
		return nil, err
	}
	im := &Image{Name: inHistory + name, past: &past{History: h, known: map[int]knownCommit{}}}
	return im.moment(h.Right)
}

// last returns the index of the last commit.
func (p *past) last() int { return len(p.Commits) - 1 }

// moment returns the image after a commit of its history.
func (im *Image) moment(commit int) (*Image, error) {
	out, err := NewImage(im.Name, im.past.At(commit))
	if err != nil {
		return nil, err
	}
	out.past = im.past
	im.past.learn(commit, out)
	return out, nil
}

func (p *past) learn(commit int, im *Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[commit] = knownCommit{im.Truth, im.Used}
}

// commit returns what is known about a commit; nothing if it was not whole.
func (p *past) commit(commit int) knownCommit {
	p.mu.Lock()
	k := p.known[commit]
	p.mu.Unlock()
	if k.truth == nil && p.Commits[commit].Whole {
		im, err := NewImage(p.Name, p.At(commit))
		if err != nil {
			panic("lab: " + err.Error()) // the histories are part of the program
		}
		p.learn(commit, im)
		return p.commit(commit)
	}
	return k
}

func (p *past) reading(commit int) *Reading { return p.commit(commit).truth }

// torn reports whether blocks of a commit have been overwritten by a later one.
func (p *past) torn(commit, later int) bool {
	changed := p.Changed(commit, later)
	return slices.ContainsFunc(p.commit(commit).used, func(nr block.Nr) bool { return changed[nr] })
}

func (p *past) state(commit int) state {
	return state{p.Commits[commit].MappingRoot, p.Commits[commit].DetailsRoot}
}

// deed names the last thing a commit recorded. If there are two, it is the one that loses more.
func (p *past) deed(commit int) string {
	what := p.Commits[commit].What
	for _, d := range [...]struct{ has, deed string }{{"deleted", "a delete"}, {"discard", "a discard"}, {"snapshot of", "a snapshot"}} {
		if strings.Contains(what, d.has) {
			return d.deed
		}
	}
	return "provisioning"
}

// known returns the ids of all devices the pool has or had, as far as the image shows.
func (im *Image) known() map[metadata.DevID]bool {
	ids := map[metadata.DevID]bool{}
	for id := range im.Truth.Devices {
		ids[id] = true
	}
	if im.past != nil {
		for i := range im.past.Commits {
			for _, d := range im.past.Commits[i].Devices {
				ids[d.ID] = true
			}
		}
	}
	for nr := range im.blocks() { // device details left by earlier transactions
		b, _ := im.block(nr)
		for _, id := range detailsIn(nr, b) {
			ids[id] = true
		}
	}
	return ids
}

// detailsIn returns the devices whose details are in a block.
func detailsIn(nr block.Nr, b *block.Data) []metadata.DevID {
	n, err := parse(nr, b, metadata.DetailsSize)
	if err != nil || !n.leaf {
		return nil
	}
	var ids []metadata.DevID
	for _, key := range n.keys {
		ids = append(ids, metadata.DevID(key))
	}
	return ids
}

// differing returns the blocks that differ between a and b.
func differing(a, b []byte) []block.Nr {
	var out []block.Nr
	for at := 0; at < min(len(a), len(b)); at += block.Size {
		if !bytes.Equal(a[at:at+block.Size], b[at:at+block.Size]) {
			out = append(out, block.Nr(at/block.Size))
		}
	}
	return out
}

// put replaces block nr of the case with b.
func (c *Case) put(nr block.Nr, b *block.Data) {
	if *b == *c.original(nr) {
		return
	}
	d := *b
	c.changed[nr] = &d
	if i, there := slices.BinarySearch(c.Blocks, nr); !there {
		c.Blocks = slices.Insert(c.Blocks, i, nr)
	}
}
