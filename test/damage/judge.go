package damage

import (
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// truths returns all equally valid readings.
func (c *Case) truths() []*Reading { return append([]*Reading{c.Image.Truth}, c.also...) }

// judgeState checks whether the wrong state of the pool was taken. said is nil for tools that do
// not say which state they took.
func (s *Salvage) judgeState(c *Case, out *Reading, said *claims) {
	switch {
	case !c.question || s.Err != nil || slices.ContainsFunc(c.truths(), out.equals):
		return
	case said == nil, said.state == state{}:
		s.WrongState = c.elsewhere(out)
		return
	}
	right := func(st state) bool { return slices.ContainsFunc(c.right, st.like) }
	// One root of a pair may have been rebuilt. Then the result decides.
	s.WrongState = !right(said.state) || (said.state.mapping == 0 || said.state.details == 0) && c.elsewhere(out)
	if s.WrongState {
		s.Named = slices.ContainsFunc(said.others, right)
		if !s.Named {
			s.wrong("it took the state %v, and does not name %v", said.state, c.right)
		}
		if s.Claims {
			s.wrong("it took the state %v, not %v, and says that nothing is lost", said.state, c.right)
		}
	}
}

// equals reports whether two pools have the same devices and mappings, ignoring times.
func (r *Reading) equals(other *Reading) bool {
	for id := range r.Devices {
		if other.Devices[id] == nil {
			return false
		}
	}
	n := r.Mappings()
	return len(r.Devices) == len(other.Devices) && n == other.Mappings() && r.Common(other) == n
}

// elsewhere reports whether the result resembles another state more than the right one.
func (c *Case) elsewhere(out *Reading) bool {
	best := 0.0
	for _, t := range c.truths() {
		best = max(best, similarity(out, t))
	}
	p := c.Image.past
	switch {
	case slices.Equal(c.Blocks, []block.Nr{metadata.SuperblockLocation}) && best < 1:
		return true // all nodes are intact
	case !c.Image.linear():
		return best < 0.5
	}
	for i := range p.Commits {
		if r := p.reading(i); r != nil && !slices.Contains(c.right, p.state(i)) && similarity(out, r) > best {
			return true
		}
	}
	return best == 0 && c.Image.Truth.Mappings() > 0
}

// similarity is 1 for pools with the same mappings and 0 for those without any in common.
func similarity(a, b *Reading) float64 {
	n := a.Mappings() + b.Mappings()
	if n == 0 {
		return 1
	}
	return 2 * float64(a.Common(b)) / float64(n)
}

// judgePhantoms counts the devices that the pool never had.
func (s *Salvage) judgePhantoms(c *Case, out *Reading) {
	var known map[metadata.DevID]bool
	for id := range out.Devices {
		if c.Image.Truth.Devices[id] != nil {
			continue
		}
		if known == nil {
			known = c.known()
		}
		if !known[id] {
			s.Phantoms++
		}
	}
	if s.Phantoms > 0 {
		s.wrong("%d devices in what was made never were", s.Phantoms)
	}
}

// known returns the ids of devices that exist or existed, or that a sealed node of the device trees
// claims.
func (c *Case) known() map[metadata.DevID]bool {
	ids := c.Image.known()
	for _, t := range c.also {
		for id := range t.Devices {
			ids[id] = true
		}
	}
	for nr, b := range c.changed {
		for _, id := range detailsIn(nr, b) {
			ids[id] = true
		}
		if n, err := parse(nr, b, metadata.RootSize); err == nil && n.leaf && c.Image.Roles[nr] == TopLevel {
			for _, key := range n.keys {
				ids[metadata.DevID(key)] = true
			}
		}
	}
	return ids
}

// judgeConfirmed counts false mappings that the report does not call guessed. If the repair took
// another state of the pool, the truth of that state counts here; taking it is a separate failure.
// After sealed damage, what the blocks in place say also counts as true.
func (s *Salvage) judgeConfirmed(c *Case, seen, out *Reading, said *claims) {
	truths, other := c.truths(), !said.state.like(c.Image.state())
	if p := c.Image.past; other && p != nil {
		for i := range p.Commits {
			// Blocks are reused, so roots alone do not identify a commit.
			if r := p.reading(i); r != nil && said.state.like(p.state(i)) && len(r.Devices) == len(said.devices) {
				truths = append(truths, r)
			}
		}
	}
	switch {
	case c.Sealed && c.forged():
		return // the evidence itself is wrong
	case other && (s.WrongState || said.choice) && len(truths) == len(c.truths()):
		return // nothing else is known about that state
	}
	sealed := c.sealedPairs()
	for id, d := range out.Devices {
		least, first := ^uint64(0), pair{}
		for _, t := range truths {
			wrong := without(d.pairs(), t.Devices[id].pairs())
			if c.Sealed && len(wrong) > 0 {
				wrong = without(wrong, seen.Devices[id].pairs())
				wrong = slices.DeleteFunc(wrong, func(p pair) bool { return sealed[p] })
			}
			if n := uint64(len(wrong)); n < least {
				if least = n; n > 0 {
					first = wrong[0]
				}
			}
		}
		guessed := uint64(0)
		if d := said.device(id); d != nil {
			guessed = d.guessed
		}
		if least > guessed {
			s.Confirmed += least - guessed
			s.wrong("device %d: %d mappings are not true, the first %v; %d are said to be guessed", id, least, first, guessed)
		}
	}
}

// sealedPairs returns the mappings found in leaves with sealed damage.
func (c *Case) sealedPairs() map[pair]bool {
	pairs := map[pair]bool{}
	for nr, b := range c.changed {
		if n, err := parse(nr, b, metadata.MappingSize); c.Sealed && err == nil && n.leaf {
			for i, key := range n.keys {
				pairs[pair{key, n.values[i] >> 24}] = true
			}
		}
	}
	return pairs
}

// judgeRest checks requirements specific to some kinds of damage.
func (s *Salvage) judgeRest(c *Case, out *Reading) {
	all := c.Image.Truth.Mappings()
	if c.kept && s.Saved != all {
		s.wrong("%d of %d mappings are saved; all could be", s.Saved, all)
	}
	if c.certain && s.Saved == all && !s.Claims {
		s.wrong("all is saved, and it does not say so")
	}
	if was, is := c.Image.Truth.blocks(), out.blocks(); c.sharing && is > 2*was+16 {
		s.wrong("what is shared no longer is: %d leaves of devices, there were %d", is, was)
	}
}

// blocks counts the leaves of all devices.
func (r *Reading) blocks() int {
	leaves := map[block.Nr]bool{}
	for _, d := range r.Devices {
		for _, p := range d.parts {
			leaves[p.leaf.nr] = true
		}
	}
	return len(leaves)
}
