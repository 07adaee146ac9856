package repair

import (
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/pdata/survey"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// An ancestry is the unbroken chain of commits before the chosen one, up to the first gap or
// skipped block. It proves that a data block was not reused: a block freed in a transaction is not
// allocated in the same one, so a reuse leaves a commit in between that does not count the block.
type ancestry struct {
	e     *evidence
	line  []*generation                       // the chosen generation, then the one before it, and so on
	nodes map[metadata.DevID]map[block.Nr]int // by device: each node with the newest commit that has it (an index into line)
	used  []map[uint64]*spacemap.UsedSet      // by commit, then data bitmap; nil: unreadable
}

func newAncestry(e *evidence, state *chosen) *ancestry {
	const most = 64
	a := &ancestry{e: e, nodes: map[metadata.DevID]map[block.Nr]int{}}
	for g := state.generation; g != nil && len(a.line) < most; g = g.prev {
		if len(a.line) > 0 && g.skipped > 0 {
			break
		}
		a.line = append(a.line, g)
		a.used = append(a.used, map[uint64]*spacemap.UsedSet{})
	}
	return a
}

// isIntact reports whether a block still has the content it had at a commit: it was not reused
// after it was freed.
func (a *ancestry) isIntact(commit int, nr block.Nr) bool {
	freed := false
	for i := commit; i >= 0; i-- {
		has := a.line[i].has(nr)
		if has && freed || i == commit && !has {
			return false
		}
		freed = !has
	}
	return a.e.valid(nr)
}

// hadMapping reports whether a mapping of an old leaf still belongs to one of the devices: all
// commits since then count its data block.
func (a *ancestry) hadMapping(leaf block.Nr, ids []metadata.DevID, data uint64) bool {
	for _, id := range ids {
		since, ok := a.nodesOf(id)[leaf]
		for i := 1; ok && i < since; i++ {
			ok = a.counts(i, data)
		}
		if ok {
			return true
		}
	}
	return false
}

// nodesOf returns the nodes of a device's trees, each with the newest commit that has it.
func (a *ancestry) nodesOf(id metadata.DevID) map[block.Nr]int {
	if nodes, ok := a.nodes[id]; ok {
		return nodes
	}
	nodes := map[block.Nr]int{}
	for i := 1; i < len(a.line); i++ {
		if tops := a.e.tableRoots(a.line[i], topKind); len(tops) == 1 {
			a.collect(i, a.rootOf(i, tops[0], id), 0, nodes)
		}
	}
	if len(a.nodes) == keptDevices {
		clear(a.nodes)
	}
	a.nodes[id] = nodes
	return nodes
}

// rootOf looks up a device below a top-level node; 0 if it is not there.
func (a *ancestry) rootOf(commit int, nr block.Nr, id metadata.DevID) block.Nr {
	for depth := 0; depth < btree.MaxDepth && a.isIntact(commit, nr); depth++ {
		n, ok := a.e.survey.Node(nr)
		if !ok {
			return 0
		}
		found := btree.Child{}
		for _, c := range a.e.survey.Entries(n) {
			if c.Key <= uint64(id) {
				found = c
			}
		}
		if nr = found.Block; n.Kind != survey.Inner {
			if found.Key != uint64(id) {
				return 0
			}
			return nr
		}
	}
	return 0
}

// collect adds the intact nodes below nr to nodes.
func (a *ancestry) collect(commit int, nr block.Nr, depth int, nodes map[block.Nr]int) {
	n, ok := a.e.survey.Node(nr)
	if _, had := nodes[nr]; !ok || had || depth > btree.MaxDepth || !a.isIntact(commit, nr) {
		return
	}
	nodes[nr] = commit
	if n.Kind == survey.Inner {
		for _, c := range a.e.survey.Entries(n) {
			a.collect(commit, c.Block, depth+1, nodes)
		}
	}
}

// counts reports whether the data space map of a commit counts a data block.
func (a *ancestry) counts(commit int, data uint64) bool {
	i := data / spacemap.PerBitmap
	used, ok := a.used[commit][i]
	if !ok {
		used = a.bitmap(commit, i)
		a.used[commit][i] = used
	}
	at := data % spacemap.PerBitmap
	return used != nil && used[at/64]>>(at%64)&1 != 0
}

// bitmap returns which counts of a data bitmap are not 0; nil if the bitmap is not intact.
func (a *ancestry) bitmap(commit int, i uint64) *spacemap.UsedSet {
	roots := a.e.strayRoots(a.line[commit], survey.IndexLeaf)
	if len(roots) != 1 || !a.indexIntact(commit, roots[0], 0) {
		return nil
	}
	value, ok, err := btree.Lookup(a.e.r, a.e.blocks, roots[0], spacemap.EntrySize, i)
	if err != nil || !ok {
		return nil
	}
	nr := spacemap.DecodeEntry(value).Block
	var b block.Data
	if nr >= a.e.blocks || !a.isIntact(commit, nr) || a.e.r.Read(nr, &b) != nil {
		return nil
	}
	bitmap, err := spacemap.DecodeBitmap(nr, &b)
	if err != nil {
		return nil
	}
	return bitmap.Used()
}

// indexIntact reports whether all nodes of a data index tree are intact.
func (a *ancestry) indexIntact(commit int, nr block.Nr, depth int) bool {
	n, ok := a.e.survey.Node(nr)
	if !ok || depth > btree.MaxDepth || !a.isIntact(commit, nr) {
		return false
	}
	if n.Kind == survey.Inner {
		for _, c := range a.e.survey.Entries(n) {
			if !a.indexIntact(commit, c.Block, depth+1) {
				return false
			}
		}
	}
	return true
}
