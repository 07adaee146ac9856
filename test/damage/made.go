package damage

import (
	"fmt"
	"math/rand/v2"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Names of composed kinds of damage.
const (
	kindOlderWhole = "older superblock, its trees whole"
	kindOlderTorn  = "older superblock, its trees overwritten"
	kindLostAfter  = "superblock lost after " // followed by a deed
	kindLost       = "superblock lost"        // the preceding deed is unknown
	kindLostBlock  = "superblock and a block lost"
	kindTwoHosts   = "active on two hosts"
	kindHeldLeaf   = "snapshot's superblock and a leaf lost"
	kindLeakStale  = "leak, stale leaf, lost leaf"
	kindTop        = "top of a large pool lost"
	kindSwapped    = "two blocks swapped"
	kindSumByte    = "byte of a checksum"
	kindSum        = "whole checksum"
	kindSixteenth  = "cut at a sixteenth"
	kindLowTime    = "details lost, low time"
	kindMapping    = "another mapping root"
	kindDetails    = "another details root"
	kindRoots      = "both roots are others"
)

var deeds = [...]string{"provisioning", "a snapshot", "a delete", "a discard"}

// A composed kind of damage does more than damage any one block: it targets certain blocks, several
// blocks, or the choice of the right state of the pool.
type composed struct {
	names []string // names of its cases
	// name returns the name of the i-th case; nil if all have the same name.
	name func(im *Image, i int) string
	// cases returns the maximum number of cases for an image.
	cases func(im *Image) int
	// make returns the i-th case; nil if there is none.
	make func(im *Image, i int, rnd *rand.Rand) (*Case, error)
}

// composedKinds has a fixed order: the numbers of cases depend on it.
var composedKinds = []composed{
	{[]string{kindOlderWhole, kindOlderTorn}, (*Image).olderName, olderCases, (*Image).olderSuperblock},
	{[]string{kindLostAfter + deeds[0], kindLostAfter + deeds[1], kindLostAfter + deeds[2], kindLostAfter + deeds[3], kindLost}, (*Image).lostName, lostCases, (*Image).lostSuperblock},
	{[]string{kindTwoHosts}, nil, hostCases, (*Image).twoHosts},
	{[]string{kindHeldLeaf}, nil, heldCases, (*Image).heldAndLeaf},
	{[]string{kindLeakStale}, nil, leakCases, (*Image).leakAndStale},
	{[]string{kindTop}, nil, topCases, (*Image).topLost},
	{[]string{kindSwapped}, nil, func(im *Image) int { return len(im.Used) / 4 }, (*Image).swapped},
	{[]string{kindSumByte}, nil, func(im *Image) int { return len(im.Used) }, (*Image).checksumByte},
	{[]string{kindSum}, nil, func(im *Image) int { return len(im.Used) }, (*Image).checksum},
	{[]string{kindSixteenth}, nil, func(*Image) int { return 15 }, (*Image).cutAtSixteenth},
	{[]string{kindLowTime}, nil, lowTimeCases, (*Image).lowTime},
	{[]string{kindMapping}, nil, rootCases, func(im *Image, i int, rnd *rand.Rand) (*Case, error) { return im.otherRoots(kindMapping, i, rnd) }},
	{[]string{kindDetails}, nil, rootCases, func(im *Image, i int, rnd *rand.Rand) (*Case, error) { return im.otherRoots(kindDetails, i, rnd) }},
	{[]string{kindRoots}, nil, rootCases, func(im *Image, i int, rnd *rand.Rand) (*Case, error) { return im.otherRoots(kindRoots, i, rnd) }},
	{[]string{kindLostBlock}, nil, func(im *Image) int { return 4 * lostCases(im) }, (*Image).lostWithBlock},
}

// Fields of the superblock that are damaged.
const (
	offTime    = 44
	offDetails = offMapping + 8
	offMapping = 320
)

// linear reports whether each commit in the image's history is based on the one before.
func (im *Image) linear() bool { return im.past != nil && im.past.Why == "" }

// olderCases: of n commits, each can be followed by the superblock of any earlier one.
func olderCases(im *Image) int {
	if !im.linear() {
		return 0
	}
	n := len(im.past.Commits)
	return n * (n - 1) / 2
}

// olderPair returns a commit, and the earlier one whose superblock is put back.
func olderPair(i int) (commit, earlier int) {
	for commit = 1; i >= commit; commit++ {
		i -= commit
	}
	return commit, i
}

func (im *Image) olderName(i int) string {
	if commit, earlier := olderPair(i); im.past.torn(earlier, commit) {
		return kindOlderTorn
	}
	return kindOlderWhole
}

// olderSuperblock puts back the superblock of an earlier commit.
func (im *Image) olderSuperblock(i int, _ *rand.Rand) (*Case, error) {
	commit, earlier := olderPair(i)
	now, err := im.moment(commit)
	if err != nil {
		return nil, err
	}
	c := now.newCase(im.olderName(i))
	c.questioned(commit)
	c.What = fmt.Sprintf("after commit %d (%s) the superblock of commit %d (%s)", commit, im.past.Commits[commit].What, earlier, im.past.Commits[earlier].What)
	c.put(metadata.SuperblockLocation, &im.past.Supers[earlier])
	c.against = im.past.reading(earlier)
	return c, nil
}

func lostCases(im *Image) int {
	switch {
	case im.past == nil:
		return 1
	case im.linear():
		return im.past.last()
	}
	return 0
}

func (im *Image) lostName(i int) string {
	if im.past == nil {
		return kindLost
	}
	return kindLostAfter + im.past.deed(i+1)
}

// lostSuperblock zeroes the superblock, after some commit if there are several.
func (im *Image) lostSuperblock(i int, _ *rand.Rand) (*Case, error) {
	if im.past == nil {
		c := im.newCase(kindLost)
		c.question = true
		c.right = append(c.right, im.state())
		c.put(metadata.SuperblockLocation, new(block.Data))
		c.What = "superblock zeroed"
		return c, nil
	}
	commit := i + 1
	now, err := im.moment(commit)
	if err != nil {
		return nil, err
	}
	c := now.newCase(im.lostName(i))
	c.questioned(commit)
	c.put(metadata.SuperblockLocation, new(block.Data))
	c.What = fmt.Sprintf("superblock zeroed after commit %d (%s)", commit, im.past.Commits[commit].What)
	return c, nil
}

// lostWithBlock also zeroes another block in use.
func (im *Image) lostWithBlock(i int, rnd *rand.Rand) (*Case, error) {
	c, err := im.lostSuperblock(i/4, rnd)
	if err != nil {
		return nil, err
	}
	used := c.Image.Used[1:]
	nr := used[rnd.IntN(len(used))]
	c.put(nr, new(block.Data))
	c.Kind = kindLostBlock
	c.What += fmt.Sprintf("; block %d (%v) zeroed", nr, c.Image.Roles[nr])
	return c, nil
}

func (im *Image) state() state { return state{im.Truth.SB.MappingRoot, im.Truth.SB.DetailsRoot} }

// questioned marks the case as a choice between states. The state of the given commit is right, and
// so are those with the same content.
func (c *Case) questioned(commit int) {
	c.question = true
	for i := range commit + 1 {
		if p := c.Image.past; p.Commits[i].Digest == p.Commits[commit].Digest && len(p.Commits[i].Devices) == len(p.Commits[commit].Devices) {
			c.right = append(c.right, p.state(i))
		}
	}
}

// The histories of two hosts, and their common start.
const lineBase, lineA, lineB = "line-base", "line-a", "line-b"

func hostCases(im *Image) int {
	switch {
	case im.past == nil:
		return 0
	case im.past.Name == lineA || im.past.Name == lineB:
		return 24
	case !im.linear():
		return 1
	}
	return 0
}

// twoHosts mixes the writes of two hosts. The superblock is that of the image. If both wrote a
// block, either write may be the last. If the kernel itself produced such an image, that is used.
func (im *Image) twoHosts(_ int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(kindTwoHosts)
	c.questioned(im.past.Right)
	if !im.linear() {
		for _, nr := range differing(im.Content, im.past.Image) {
			c.put(nr, (*block.Data)(im.past.Image[nr*block.Size:]))
		}
		c.What = im.past.What
		return c, nil
	}
	name := lineA
	if im.past.Name == lineA {
		name = lineB
	}
	base, err := fixtures.OpenHistory(lineBase)
	if err != nil {
		return nil, err
	}
	other, err := openHistory(name)
	if err != nil {
		return nil, err
	}
	ours := map[block.Nr]bool{}
	for _, nr := range differing(base.Image, im.Content) {
		ours[nr] = true
	}
	share, both := rnd.Float64(), 0
	for _, nr := range differing(base.Image, other.Content)[1:] { // not block 0
		if ours[nr] {
			if rnd.Float64() >= share {
				continue
			}
			both++
		}
		c.put(nr, other.original(nr))
	}
	c.Sealed, c.strict = true, true
	c.right = append(c.right, other.past.state(other.past.last()))
	c.also = append(c.also, other.Truth)
	c.What = fmt.Sprintf("all that %s wrote, and %d of the blocks that both wrote, are of %s", other.Name, both, other.Name)
	return c, nil
}

// leaves returns the leaves of devices in block order, and how many devices reach each one.
func (im *Image) leaves() ([]*node, map[block.Nr]int) {
	reached, byNr := map[block.Nr]int{}, map[block.Nr]*node{}
	for _, d := range im.Truth.Devices {
		for _, p := range d.parts {
			reached[p.leaf.nr]++
			byNr[p.leaf.nr] = p.leaf
		}
	}
	var leaves []*node
	for _, nr := range im.Used {
		if n := byNr[nr]; n != nil && len(n.keys) > 0 {
			leaves = append(leaves, n)
		}
	}
	return leaves, reached
}

func heldCases(im *Image) int {
	if im.Truth.SB.HeldRoot == 0 {
		return 0
	}
	leaves, _ := im.leaves()
	return len(leaves)
}

// heldAndLeaf zeroes the superblock of the metadata snapshot and a leaf of the pool.
func (im *Image) heldAndLeaf(i int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(kindHeldLeaf)
	leaves, _ := im.leaves()
	c.hurt(kinds[0], im.Truth.SB.HeldRoot, rnd)
	c.hurt(kinds[0], leaves[i].nr, rnd)
	return c, nil
}

// most is the number of cases for kinds that are similar for all blocks.
const most = 24

// internal reports whether the root of a device tree is an internal node.
func (im *Image) internal(root block.Nr, size int) bool {
	n := im.cache[place{root, size}]
	return n != nil && !n.leaf
}

func topCases(im *Image) int {
	if !im.internal(im.Truth.SB.MappingRoot, metadata.RootSize) {
		return 0
	}
	return most
}

// topLost damages the root of the top level and, in every second case, that of the device details.
func (im *Image) topLost(i int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(kindTop)
	c.sharing, c.kept = true, true
	roots := []block.Nr{im.Truth.SB.MappingRoot, im.Truth.SB.DetailsRoot}
	for _, root := range roots[:1+i%2] {
		for {
			if k := kinds[rnd.IntN(len(kinds))]; !k.sealed && c.hurt(k, root, rnd) {
				break
			}
		}
	}
	return c, nil
}

// swapped swaps two blocks.
func (im *Image) swapped(_ int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(kindSwapped)
	two := rnd.Perm(len(im.Used))
	a, b := im.Used[two[0]], im.Used[two[1]]
	// A superblock at another position could be an old one.
	c.kept = a != metadata.SuperblockLocation && b != metadata.SuperblockLocation
	c.certain = c.kept
	c.put(a, im.original(b))
	c.put(b, im.original(a))
	c.What = fmt.Sprintf("blocks %d (%v) and %d (%v) swapped", a, im.Roles[a], b, im.Roles[b])
	return c, nil
}

// checksumByte changes one byte of the checksum of block i.
func (im *Image) checksumByte(i int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(kindSumByte)
	c.kept, c.certain = true, true
	b, at := *im.original(im.Used[i]), rnd.IntN(4)
	b[at] ^= byte(1 + rnd.IntN(255))
	c.put(im.Used[i], &b)
	c.What = fmt.Sprintf("block %d (%v): byte %d of its checksum changed", im.Used[i], im.Roles[im.Used[i]], at)
	return c, nil
}

// checksum changes all bytes of the checksum of block i.
func (im *Image) checksum(i int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(kindSum)
	b := *im.original(im.Used[i])
	for at := range 4 {
		b[at] ^= byte(1 + rnd.IntN(255))
	}
	c.put(im.Used[i], &b)
	c.What = fmt.Sprintf("block %d (%v): its whole checksum changed", im.Used[i], im.Roles[im.Used[i]])
	return c, nil
}

// cutAtSixteenth truncates the device after some sixteenths of the used part.
func (im *Image) cutAtSixteenth(i int, _ *rand.Rand) (*Case, error) {
	c := im.newCase(kindSixteenth)
	c.cut((int64(im.Used[len(im.Used)-1]) + 1) * int64(i+1) / 16 * block.Size)
	return c, nil
}

// newest returns the highest time of any mapping.
func (im *Image) newest() uint32 {
	newest := uint32(0)
	leaves, _ := im.leaves()
	for _, n := range leaves {
		newest = max(newest, n.maxTime)
	}
	return newest
}

func lowTimeCases(im *Image) int { return min(most, int(im.newest())) }

// lowTime zeroes the device details and sets the superblock's time below that of the newest
// mapping.
func (im *Image) lowTime(_ int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(kindLowTime)
	c.kept = true
	for _, nr := range im.Used {
		if im.Roles[nr] == Details {
			c.put(nr, new(block.Data))
		}
	}
	super, time := *im.original(metadata.SuperblockLocation), uint32(rnd.IntN(int(im.newest())))
	le.PutUint32(super[offTime:], time)
	block.Reseal(&super, block.Superblock)
	c.put(metadata.SuperblockLocation, &super)
	c.What = fmt.Sprintf("device details zeroed; the superblock's time is %d, not %d; mappings have up to %d", time, im.Truth.SB.Time, im.newest())
	return c, nil
}

func rootCases(*Image) int { return most }

// otherRoots replaces roots in the superblock with other valid nodes: of each value size in turn,
// internal and leaf, used and unused.
func (im *Image) otherRoots(name string, i int, rnd *rand.Rand) (*Case, error) {
	c := im.newCase(name)
	c.question = true
	c.right = append(c.right, im.state())
	type class struct {
		size   uint32
		leaf   bool
		unused bool
	}
	var classes []class
	nodes := map[class][]block.Nr{}
	for nr := range im.blocks() {
		b := im.original(nr)
		if nr == im.Truth.SB.MappingRoot || nr == im.Truth.SB.DetailsRoot || block.Verify(nr, b, block.Node) != nil {
			continue
		}
		k := class{le.Uint32(b[24:]), b[4]&2 != 0, im.Roles[nr] == NoRole}
		if nodes[k] == nil {
			classes = append(classes, k)
		}
		nodes[k] = append(nodes[k], nr)
	}
	if len(classes) == 0 {
		return nil, nil
	}
	super := *im.original(metadata.SuperblockLocation)
	lead := func(off int, what string, i int) {
		all := nodes[classes[i%len(classes)]]
		nr := all[rnd.IntN(len(all))]
		le.PutUint64(super[off:], uint64(nr))
		c.What += fmt.Sprintf("%s root leads to block %d (%v, values of %d bytes); ", what, nr, im.Roles[nr], le.Uint32(im.original(nr)[24:]))
	}
	if name != kindDetails {
		lead(offMapping, "mapping", i)
	}
	if name != kindMapping {
		lead(offDetails, "details", rnd.IntN(len(classes))+i)
	}
	block.Reseal(&super, block.Superblock)
	c.put(metadata.SuperblockLocation, &super)
	return c, nil
}
