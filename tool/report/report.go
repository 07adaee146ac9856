// Package report, whose API may change, measures a pool and presents the results: as an HTML page
// that needs neither scripts nor the network, and as gauges for Prometheus.
//
// It is based on a check. The faults are those of thin_check, and the check has already read the
// trees and counted the references to data blocks. One more pass over the leaves gives all figures
// about sharing, runs and fill.
package report

import (
	"cmp"
	"context"
	"slices"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
)

// Limits of a report. Anything beyond them is summed up.
const (
	MostFaults  = 100 // maximum number of faults kept
	MostSharing = 40  // maximum number of devices in the matrix and the family tree
	Side        = 128 // maximum number of cells along the edge of the data device map
	MostParts   = 64  // maximum number of parts in the table beside the map
)

// Options are what is known about the pool besides its metadata.
type Options struct {
	Pool     string                           // name of the pool
	Snapshot bool                             // read the metadata snapshot; the pool may be in use
	Volume   func(metadata.DevID) (LVM, bool) // LVM's data about a device; nil: none
	Advice   func(*check.Fault) string        // advice about a fault, whose Err it may change; nil: the check's advice
	Progress func(phase string, done, total uint64)
}

// LVM is LVM's data about a device.
type LVM struct {
	Name      string
	Size      uint64 // bytes
	HasOrigin bool
	Origin    metadata.DevID // the device it is a snapshot of
}

// A Report is the result of measuring a pool. Block counts are in data blocks.
type Report struct {
	Pool       string
	Snapshot   bool                 // it is about the metadata snapshot
	Superblock *metadata.Superblock // nil: unreadable
	Check      check.Summary
	Faults     []Fault // the worst first, at most MostFaults
	Omitted    uint64  // number of faults not in Faults
	// Differences are the differences between LVM's text and the metadata, set by the caller.
	Differences Differences
	Repair      *Repair // the report is about repaired metadata, set by the caller; nil: it is not
	Mapped      bool    // the devices could be listed, so there are figures about mappings
	Volumes     []Volume
	Sharing     Matrix
	Cells       []Cell // of the data device, at most Side*Side, whose sizes differ by at most one block
	Runs        []Bin  // by length
	Fill        Fill

	cuts cuts
}

// A Fault is a fault with advice.
type Fault struct {
	check.Fault
	Advice string
}

// Add adds a fault found by the caller.
func (r *Report) Add(f check.Fault) {
	r.Faults = append([]Fault{{f, f.Advice()}}, r.Faults...)
	switch f.Severity {
	case check.Fatal:
		r.Check.Fatal++
	case check.NonFatal:
		r.Check.NonFatal++
	default:
		r.Check.Notes++
	}
}

// A Difference is a difference between LVM's text and the metadata.
type Difference struct {
	Code    string
	Text    string
	Refused bool     // LVM will not activate the pool
	Fix     []string // commands
}

// Differences are all differences of a pool.
type Differences []Difference

func (all Differences) refused() bool {
	return slices.ContainsFunc(all, func(d Difference) bool { return d.Refused })
}

// A Volume is a thin device.
type Volume struct {
	metadata.Device
	LVM
	Named     bool   // LVM knows it
	Exclusive uint64 // blocks freed by deleting the device
	Shared    uint64 // mapped blocks that are not exclusive
	Runs      uint64
	Leaves    uint64
	Damaged   bool // part of the tree is unreadable, so figures are lower bounds
}

// Blocks returns the number of blocks for the volume's size; 0 if unknown.
func (v *Volume) Blocks(blockSize uint32) uint64 {
	size := uint64(blockSize) * block.SectorSize
	if size == 0 {
		return 0
	}
	return v.Size/size + min(v.Size%size, 1)
}

// A Bin is the runs with lengths from First to Last.
type Bin struct{ First, Last, Runs, Blocks uint64 }

// Fill tells how full the leaves are.
type Fill struct {
	Leaves, Mappings, Room uint64
	Tenths                 [10]uint64 // leaves by fill: below 10 %, below 20 %, ...
}

// Run checks and measures the pool on dev. Damage is part of the report. An error means that the
// device is unreadable or that ctx is done.
func Run(ctx context.Context, dev block.Device, opt Options) (*Report, error) {
	r := &Report{Pool: opt.Pool, Snapshot: opt.Snapshot}
	var faults faultList
	sum, err := check.Run(ctx, dev, check.Options{
		Snapshot: opt.Snapshot, Progress: opt.Progress,
		Superblock: func(sb metadata.Superblock) { r.Superblock = &sb },
		Mapped:     func(ctx context.Context, m check.Mapped) error { return r.measure(ctx, m, opt) },
	}, faults.add)
	if err != nil {
		return nil, err
	}
	r.Check = sum
	for _, f := range faults.all() {
		advice := f.Advice()
		if opt.Advice != nil {
			advice = opt.Advice(&f)
		}
		r.Faults = append(r.Faults, Fault{f, advice})
	}
	r.Omitted = sum.Fatal + sum.NonFatal + sum.Notes - uint64(len(r.Faults))
	r.markFaulty(faults.counts)
	return r, nil
}

// A faultList keeps the first faults of each severity, as many as fit into a report.
type faultList struct {
	of     [check.Fatal + 1][]check.Fault
	counts []check.WrongCounts // of data blocks
}

func (l *faultList) add(f check.Fault) {
	const mostCounts = 1 << 16
	if of := &l.of[f.Severity]; len(*of) < MostFaults {
		*of = append(*of, f)
	}
	if f.Counts != nil && f.DataBlocks() && len(l.counts) < mostCounts {
		l.counts = append(l.counts, *f.Counts)
	}
}

// all returns the faults for the report, the worst first.
func (l *faultList) all() []check.Fault {
	all := slices.Concat(l.of[check.Fatal], l.of[check.NonFatal], l.of[check.Note])
	return all[:min(len(all), MostFaults)]
}

// A Cell is a range of data blocks.
type Cell struct{ Exclusive, Shared, Faulty uint64 }

// markFaulty records where data blocks have wrong counts.
func (r *Report) markFaulty(counts []check.WrongCounts) {
	for _, w := range counts {
		for first, end := w.First, min(w.First+w.N, r.cuts.blocks); first < end; {
			i := r.cuts.of(first)
			next := min(r.cuts.start(i+1), end)
			r.Cells[i].Faulty += next - first
			first = next
		}
	}
}

// DataBlocks returns the number of blocks on the data device, and how many are mapped exclusively
// and shared.
func (r *Report) DataBlocks() (total, exclusive, shared uint64) {
	for _, c := range r.Cells {
		exclusive, shared = exclusive+c.Exclusive, shared+c.Shared
	}
	if r.Superblock != nil {
		total = r.Superblock.DataSpaceMap.NrBlocks
	}
	return total, exclusive, shared
}

// ByGain returns the volumes, ordered by the blocks that deleting them frees.
func (r *Report) ByGain() []Volume {
	var all []Volume
	for _, i := range order(len(r.Volumes), func(i, j int) int {
		a, b := &r.Volumes[i], &r.Volumes[j]
		return cmp.Or(cmp.Compare(b.Exclusive, a.Exclusive), cmp.Compare(b.MappedBlocks, a.MappedBlocks), cmp.Compare(i, j))
	}) {
		all = append(all, r.Volumes[i])
	}
	return all
}

// order returns the numbers below n, in the order of compare.
func order(n int, compare func(i, j int) int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	slices.SortFunc(all, compare)
	return all
}

// Room returns how much new data fits until the metadata is full, in data blocks, assuming that
// leaves will be as full as now; false if there is no basis for an estimate.
func (r *Report) Room() (blocks uint64, ok bool) {
	sb := r.Superblock
	if sb == nil || r.Fill.Leaves == 0 || r.Fill.Mappings == 0 {
		return 0, false
	}
	free := sb.FreeMetadataBlocks()
	free -= min(free, metadata.Reserve(sb.MetadataSpaceMap.NrBlocks))
	return free * r.Fill.Mappings / r.Fill.Leaves, true
}

// InDevices reports whether there are faults in the device trees.
func (r *Report) InDevices() bool {
	return slices.ContainsFunc(r.Faults, func(f Fault) bool { return f.InDevices() })
}

// A Part is a part of the data device.
type Part struct {
	Cell
	First, Blocks uint64
}

// Parts returns the parts of the data device, at most MostParts.
func (r *Report) Parts() []Part {
	if len(r.Cells) == 0 {
		return nil
	}
	var parts []Part
	each := (len(r.Cells) + MostParts - 1) / MostParts
	for i := 0; i < len(r.Cells); i += each {
		end := min(i+each, len(r.Cells))
		part := Part{First: r.cuts.start(uint64(i))}
		part.Blocks = r.cuts.start(uint64(end)) - part.First
		for _, c := range r.Cells[i:end] {
			part.Exclusive, part.Shared, part.Faulty = part.Exclusive+c.Exclusive, part.Shared+c.Shared, part.Faulty+c.Faulty
		}
		parts = append(parts, part)
	}
	return parts
}
