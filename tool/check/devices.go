package check

import (
	"context"
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

// checkPool checks the trees of one superblock: the live one or that of the metadata snapshot,
// which v tells apart. It does not reread blocks seen by an earlier call.
func (c *checker) checkPool(ctx context.Context, sb metadata.Superblock, v view) error {
	c.progress("devices", 0, 0)
	roots, err := c.readTopLevel(ctx, sb, v)
	if err != nil {
		return err
	}
	details, err := c.readDetails(ctx, sb, v)
	if err != nil {
		return err
	}
	devices := c.pairDevices(roots, details, v)
	c.checkDevices(sb, devices, v)
	if v.name == "" {
		c.sum.Devices = uint64(len(devices))
	}
	if c.opt.SkipMappings {
		return nil
	}
	return c.checkMappings(ctx, roots, devices, v)
}

// readTopLevel reads the top level of the mapping tree: the root of each device's tree.
func (c *checker) readTopLevel(ctx context.Context, sb metadata.Superblock, v view) ([]btree.Child, error) {
	tree := v.part(treeTop)
	if c.topRoots == nil {
		c.topRoots = map[int][]btree.Child{}
	}
	add := func(leaf int, key uint64, value []byte) {
		c.topRoots[leaf] = append(c.topRoots[leaf], btree.Child{Key: key, Block: block.Nr(le.Uint64(value))})
	}
	forest, err := c.readSmallTree(ctx, &c.top, sb.MappingRoot, metadata.RootSize, tree, v, add)
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
func (c *checker) readDetails(ctx context.Context, sb metadata.Superblock, v view) ([]deviceDetails, error) {
	tree := v.part(treeDetails)
	if c.detailsOf == nil {
		c.detailsOf = map[int][]deviceDetails{}
	}
	add := func(leaf int, key uint64, value []byte) {
		c.detailsOf[leaf] = append(c.detailsOf[leaf], deviceDetails{metadata.DevID(key), metadata.DecodeDetails(value)})
	}
	forest, err := c.readSmallTree(ctx, &c.details, sb.DetailsRoot, metadata.DetailsSize, tree, v, add)
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

// readSmallTree reads and checks a tree of devices, and adds its nodes to *forest. It calls add
// for each entry of a leaf that was not read before.
func (c *checker) readSmallTree(ctx context.Context, forest **btree.Forest, root block.Nr, valueSize int, tree string, v view,
	add func(leaf int, key uint64, value []byte),
) (*btree.Forest, error) {
	var err error
	if *forest == nil {
		*forest, err = btree.Load(ctx, c.r, c.limit, valueSize, root)
	} else {
		err = (*forest).Add(ctx, root)
	}
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var faults []Fault
	err = (*forest).EachLeaf(ctx, func(_, leaf int, n btree.Node, err error) error {
		if err != nil {
			return nil // reported below
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
	checker := btree.NewChecker(*forest, func(f btree.Finding) { v.report(c.treeFault(ctx, f, tree, metadata.OwnerList{})) })
	checker.CheckTree(root)
	reportSorted(faults, v)
	return *forest, nil
}

// treeFault returns a fault in the structure of a tree. If part of the tree is lost, counts are
// only lower bounds from then on.
func (c *checker) treeFault(ctx context.Context, f btree.Finding, tree string, owners metadata.OwnerList) Fault {
	fault := findingFault(f, tree, owners)
	switch f.Kind {
	case btree.Lost:
		c.damaged = true
		fault.Err = c.withHolder(ctx, f.Block, f.Err)
	case btree.OutOfBounds:
		c.damaged = true
	}
	return fault
}

// findingFault returns the fault for a finding.
func findingFault(f btree.Finding, tree string, owners metadata.OwnerList) Fault {
	fault := Fault{Tree: tree, Devices: owners.IDs, MoreDevices: owners.Incomplete, Block: &f.Block, Err: f.Err}
	switch f.Kind {
	case btree.Lost:
		fault.Code, fault.Severity, fault.Lost = NodeDamaged, Fatal, &f.Keys
	case btree.OutOfBounds:
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
	return fault
}

// pairDevices matches the devices of the two trees, both ascending.
func (c *checker) pairDevices(roots []btree.Child, details []deviceDetails, v view) []metadata.Device {
	var devices []metadata.Device
	lone := func(id metadata.DevID, has, lacks string) {
		v.report(Fault{
			Code: DeviceMismatch, Severity: Fatal, Tree: v.name, Devices: []metadata.DevID{id},
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

// checkDevices checks the ids, times and transaction ids of devices.
func (c *checker) checkDevices(sb metadata.Superblock, devices []metadata.Device, v view) {
	tree := v.part(treeDetails)
	fault := func(d metadata.Device, code Code, s Severity, format string, args ...any) {
		v.report(Fault{Code: code, Severity: s, Tree: tree, Devices: []metadata.DevID{d.ID}, Err: fmt.Errorf(format, args...)})
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
			if v.name == "" {
				f.newest = max(d.CreationTime, d.SnapshottedTime)
			}
			v.report(f)
		}
		if d.TransactionID > sb.TransactionID {
			fault(d, TransactionTooHigh, Note, "created in transaction %d, but the superblock is at %d", d.TransactionID, sb.TransactionID)
		}
	}
}
