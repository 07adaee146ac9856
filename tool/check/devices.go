package check

import (
	"fmt"
	"sync"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

type deviceDetails struct {
	id metadata.DevID
	metadata.Details
}

// checkPool tests the trees of one superblock: the live one, then perhaps that of the
// metadata snapshot, whose view is then part of what faults say. Blocks that an
// earlier call has seen are not read again.
func (c *checker) checkPool(sb metadata.Superblock, view string) error {
	c.progress("devices", 0, 0)
	roots, err := c.readTopLevel(sb, view)
	if err != nil {
		return err
	}
	details, err := c.readDetails(sb, view)
	if err != nil {
		return err
	}
	devices := c.pairDevices(roots, details, view)
	c.checkDevices(sb, devices, view)
	if view == "" {
		c.sum.Devices = uint64(len(devices))
	}
	if c.opt.SkipMappings {
		return nil
	}
	return c.checkMappings(roots, devices, view)
}

// in makes the name of a part of a view of the pool.
func in(view, part string) string {
	if view == "" {
		return part
	}
	return view + ", " + part
}

// readTopLevel reads the top level of the mapping tree: the root of each device's tree.
func (c *checker) readTopLevel(sb metadata.Superblock, view string) ([]btree.Child, error) {
	tree := in(view, treeTop)
	if c.topRoots == nil {
		c.topRoots = map[int][]btree.Child{}
	}
	add := func(leaf int, key uint64, value []byte) {
		c.topRoots[leaf] = append(c.topRoots[leaf], btree.Child{Key: key, Block: block.Nr(le.Uint64(value))})
	}
	forest, err := c.readSmallTree(&c.top, sb.MappingRoot, metadata.RootSize, tree, add)
	if err != nil {
		return nil, err
	}
	var roots []btree.Child
	for part := range forest.LeafRanges(sb.MappingRoot) {
		if part.Err == nil {
			roots = append(roots, c.topRoots[part.Leaf]...)
		}
	}
	return roots, nil
}

// readDetails reads the device details tree.
func (c *checker) readDetails(sb metadata.Superblock, view string) ([]deviceDetails, error) {
	tree := in(view, treeDetails)
	if c.detailsOf == nil {
		c.detailsOf = map[int][]deviceDetails{}
	}
	add := func(leaf int, key uint64, value []byte) {
		c.detailsOf[leaf] = append(c.detailsOf[leaf], deviceDetails{metadata.DevID(key), metadata.DecodeDetails(value)})
	}
	forest, err := c.readSmallTree(&c.details, sb.DetailsRoot, metadata.DetailsSize, tree, add)
	if err != nil {
		return nil, err
	}
	var details []deviceDetails
	for part := range forest.LeafRanges(sb.DetailsRoot) {
		if part.Err == nil {
			details = append(details, c.detailsOf[part.Leaf]...)
		}
	}
	return details, nil
}

// readSmallTree reads and judges a tree of devices, adding its nodes to *forest. add
// is called for each entry of a leaf that was not read before.
func (c *checker) readSmallTree(forest **btree.Forest, root block.Nr, valueSize int, tree string,
	add func(leaf int, key uint64, value []byte),
) (*btree.Forest, error) {
	var err error
	if *forest == nil {
		*forest, err = btree.Load(c.ctx, c.r, c.limit, valueSize, root)
	} else {
		err = (*forest).Add(c.ctx, root)
	}
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var faults []Fault
	err = (*forest).EachLeaf(c.ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // judged below
		}
		mu.Lock()
		defer mu.Unlock()
		for key, value := range n.All() {
			add(leaf, key, value)
		}
		faults = append(faults, anomalyFaults((*forest).Leaves()[leaf].Block, n.HeaderAnomalies(), tree)...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	checker := btree.NewChecker(*forest, func(f btree.Finding) { c.reportFinding(f, tree, metadata.OwnerList{}) })
	checker.CheckTree(root)
	c.reportSorted(faults)
	return *forest, nil
}

// reportFinding reports what is wrong with the structure of a tree.
func (c *checker) reportFinding(f btree.Finding, tree string, owners metadata.OwnerList) {
	fault := Fault{Tree: tree, Devices: owners.IDs, MoreDevices: owners.Incomplete, Block: f.Block, HasBlock: true, Err: f.Err}
	switch f.Kind {
	case btree.Lost:
		c.damaged = true
		fault.Code, fault.Severity, fault.Keys, fault.Lost = NodeDamaged, Fatal, f.Keys, true
		fault.Err = c.withHolder(f.Block, f.Err)
	case btree.OutOfBounds:
		c.damaged = true
		fault.Code, fault.Severity = KeysOutOfBounds, Fatal
	case btree.UnevenDepth:
		fault.Code, fault.Severity = DepthUneven, NonFatal
	case btree.Underfull:
		fault.Code, fault.Severity = NodeUnderfull, NonFatal
		if f.N == f.Most/3-1 { // known kernels leave such nodes
			fault.Severity = Note
		}
	case btree.OddCapacity:
		fault.Code, fault.Severity = NodeCapacityOdd, NonFatal
	default:
		fault.Code, fault.Severity = NodeHeaderOdd, Note
	}
	c.report(fault)
}

// pairDevices matches the devices of the two trees, which both ascend.
func (c *checker) pairDevices(roots []btree.Child, details []deviceDetails, view string) []metadata.Device {
	var devices []metadata.Device
	lone := func(id metadata.DevID, has, lacks string) {
		c.report(Fault{
			Code: DeviceMismatch, Severity: Fatal, Tree: view, Devices: []metadata.DevID{id},
			Err: fmt.Errorf("has %s but no %s", has, lacks),
		})
	}
	for len(roots) > 0 || len(details) > 0 {
		switch {
		case len(details) == 0 || len(roots) > 0 && roots[0].Key < uint64(details[0].id):
			lone(metadata.DevID(roots[0].Key), "mappings", "details")
			roots = roots[1:]
		case len(roots) == 0 || uint64(details[0].id) < roots[0].Key:
			lone(details[0].id, "details", "mappings")
			details = details[1:]
		default:
			devices = append(devices, metadata.Device{ID: details[0].id, Details: details[0].Details, Root: roots[0].Block})
			roots, details = roots[1:], details[1:]
		}
	}
	return devices
}

// checkDevices tests the ids, times and transaction ids of devices.
func (c *checker) checkDevices(sb metadata.Superblock, devices []metadata.Device, view string) {
	tree := in(view, treeDetails)
	fault := func(d metadata.Device, code Code, s Severity, format string, args ...any) {
		c.report(Fault{Code: code, Severity: s, Tree: tree, Devices: []metadata.DevID{d.ID}, Err: fmt.Errorf(format, args...)})
	}
	for _, d := range devices {
		if d.ID > metadata.MaxDevID {
			fault(d, DeviceIDTooHigh, NonFatal, "the kernel supports ids only up to %d", metadata.MaxDevID)
		}
		if d.CreationTime > sb.Time || d.SnapshottedTime > sb.Time {
			f := Fault{
				Code: TimeTooHigh, Severity: NonFatal, Tree: tree, Devices: []metadata.DevID{d.ID},
				Err: fmt.Errorf("creation_time is %d and snapshotted_time %d, but the superblock's time is %d", d.CreationTime, d.SnapshottedTime, sb.Time),
			}
			if view == "" {
				f.newest = max(d.CreationTime, d.SnapshottedTime)
			}
			c.report(f)
		}
		if d.TransactionID > sb.TransactionID {
			fault(d, TransactionTooHigh, Note, "created in transaction %d, but the superblock is at %d", d.TransactionID, sb.TransactionID)
		}
	}
}
