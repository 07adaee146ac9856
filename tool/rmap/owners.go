package rmap

import (
	"slices"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// owners finds the devices that reach a leaf by walking up. In a sound tree, a single path leads
// from a device to a node, so this takes as many steps as there are devices, times the depth. It
// does not need a list of devices for each of the many nodes.
type owners struct {
	inner int // number of inner nodes; nodes are numbered: inner nodes, then leaves
	// The parents of node i are parents[start[i]:start[i+1]]. A parent is an inner node, or -p-1 for
	// device p if the node is its root.
	start   []uint32
	parents []int32
	like    []int32 // by leaf: the first leaf with the same parents, and so the same devices
	sole    []int32 // by leaf: the only device that reaches it, or shared
}

const shared = -1

func newOwners(f *btree.Forest, devices []metadata.Device) *owners {
	inner, leaves := len(f.Inner()), len(f.Leaves())
	o := &owners{
		inner: inner, start: make([]uint32, inner+leaves+1), like: make([]int32, leaves), sole: make([]int32, leaves),
	}
	node := func(nr block.Nr) int {
		switch role, i := f.Role(nr); role {
		case btree.InnerNode:
			return i
		case btree.LeafNode:
			return inner + i
		}
		return -1
	}
	pointers := func(fn func(node int, parent int32)) {
		point := func(nr block.Nr, parent int32) {
			if n := node(nr); n >= 0 {
				fn(n, parent)
			}
		}
		for i := range devices {
			point(devices[i].Root, int32(-i-1))
		}
		for i := range f.Inner() {
			for _, child := range f.Inner()[i].Children {
				point(child, int32(i))
			}
		}
	}
	// Count, sum up, fill in from the end. After that, start is where each list starts.
	pointers(func(node int, _ int32) { o.start[node]++ })
	sum := uint32(0)
	for i := range o.start {
		sum += o.start[i]
		o.start[i] = sum
	}
	o.parents = make([]int32, sum)
	pointers(func(node int, parent int32) {
		o.start[node]--
		o.parents[o.start[node]] = parent
	})
	o.compare()
	return o
}

// compare finds leaves with the same parents, and leaves of a single device.
func (o *owners) compare() {
	first := map[string]int32{}
	var key []byte
	c := o.climber()
	for leaf := range o.like {
		parents := o.parentsOf(o.inner + leaf)
		key = key[:0]
		for _, p := range parents {
			key = le.AppendUint32(key, uint32(p))
		}
		like, ok := first[string(key)]
		if !ok {
			like = int32(leaf)
			first[string(key)] = like
			o.sole[leaf] = shared
			if len(parents) == 1 { // otherwise it has several devices, unless something is damaged
				if found := c.climb(leaf); len(found) == 1 {
					o.sole[leaf] = found[0]
				}
			}
		}
		o.like[leaf], o.sole[leaf] = like, o.sole[like]
	}
}

func (o *owners) parentsOf(node int) []int32 { return o.parents[o.start[node]:o.start[node+1]] }

// A climber walks up from leaves. Each goroutine needs its own.
type climber struct {
	*owners
	met    []uint64 // by inner node: the last walk that visited it, against loops and repeats
	walk   uint64
	path   []int32
	known  map[int32][]int32 // by leaf: the devices that reach it, and all leaves like it
	weight int               // of known, in devices
}

// A climber forgets everything above this weight. A leaf weighs more than its devices.
const (
	mostKnown  = 1 << 18
	leafWeight = 16
)

func (o *owners) climber() *climber {
	return &climber{owners: o, met: make([]uint64, o.inner), known: map[int32][]int32{}}
}

// devicesOf returns the devices that reach a leaf, by ascending index.
func (c *climber) devicesOf(leaf int) []int32 {
	like := c.like[leaf]
	found, ok := c.known[like]
	if !ok {
		if c.weight > mostKnown {
			clear(c.known)
			c.weight = 0
		}
		found = c.climb(leaf)
		slices.Sort(found)
		c.known[like] = found
		c.weight += len(found) + leafWeight
	}
	return found
}

// climb walks up from a leaf to all devices that reach it.
func (c *climber) climb(leaf int) []int32 {
	var found []int32
	c.walk++
	for c.path = append(c.path[:0], int32(c.inner+leaf)); len(c.path) > 0; {
		node := c.path[len(c.path)-1]
		c.path = c.path[:len(c.path)-1]
		for _, p := range c.parentsOf(int(node)) {
			switch {
			case p < 0:
				found = append(found, -p-1)
			case c.met[p] != c.walk:
				c.met[p] = c.walk
				c.path = append(c.path, p)
			}
		}
	}
	return found
}
