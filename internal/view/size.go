package view

import (
	"fmt"
	"io"

	"thinpool/internal/cli"
	"thinpool/tool/size"
)

// An estimateRecord is an estimate in JSON.
type estimateRecord struct {
	Type    string `json:"type"` // "estimate", or "summary" for the chosen rule
	Rule    string `json:"rule"`
	Bytes   uint64 `json:"bytes"`
	Sectors uint64 `json:"sectors"`
	Bound   string `json:"bound,omitempty"` // the limit that applied
}

// An adviceRecord is the recommended size in JSON.
type adviceRecord struct {
	Type         string `json:"type"` // "advice"
	Rule         string `json:"rule"`
	Bytes        uint64 `json:"bytes"`
	Sectors      uint64 `json:"sectors"`
	NeededBytes  uint64 `json:"needed_bytes"`
	ReserveBytes uint64 `json:"reserve_bytes"`
	Fits         bool   `json:"fits"`
	FittingBlock uint64 `json:"fitting_block_size,omitempty"` // sectors; a block size that fits, if this one does not
}

// SizesJSON prints the chosen estimate. With all, it first prints the estimates of all rules and
// the recommended size.
func SizesJSON(w io.Writer, p size.Pool, chosen size.Estimate, all bool) error {
	enc := NewEncoder(w)
	record := func(kind string, e size.Estimate) error {
		return enc.Encode(estimateRecord{kind, string(e.Rule), e.Bytes, e.Bytes / cli.SectorSize, e.Bound})
	}
	if all {
		for _, rule := range p.Rules() {
			if err := record("estimate", p.Estimate(rule)); err != nil {
				return err
			}
		}
		a := p.Advise()
		r := adviceRecord{"advice", string(a.Rule), a.Bytes, a.Bytes / cli.SectorSize, a.Need, a.Reserve, a.Fits, 0}
		if !a.Fits {
			r.FittingBlock = p.FittingBlockSize() / cli.SectorSize
		}
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return record("summary", chosen)
}

var ruleMeaning = map[size.Rule]string{
	size.Tree:      "half-full trees, one block per device",
	size.Scattered: "half-full trees; changes are spread evenly, so whole leaves are copied",
	size.Kernel:    "48 bytes per data block (kernel documentation)",
	size.LVM:       "64 bytes per data block (what lvcreate allocates)",
	size.Packed:    "full trees: the minimum, right after thin_restore",
}

// Sizes prints every rule and its result for a pool.
func Sizes(w io.Writer, p size.Pool) error {
	fmt.Fprintf(w, "A pool of %s with blocks of %s: %s, %s.\n", PlainSize(p.Size), PlainSize(p.BlockSize),
		plural(p.Blocks(), "data block", "data blocks"), plural(p.Thins, "device", "devices"))
	if p.Snapshots > 0 {
		fmt.Fprintf(w, "%s of a device, of which each changes up to %v %%.\n", plural(p.Snapshots, "snapshot", "snapshots"), p.Divergence)
	}
	columns := []string{"rule", "bytes", "size", "bound", "what it counts"}
	t := &table{columns: columns, left: columns, gap: "  "}
	for _, rule := range p.Rules() {
		e := p.Estimate(rule)
		meaning := ruleMeaning[rule]
		if rule == size.Tree && p.Snapshots > 0 {
			meaning += "; changes are adjacent, on top of a full pool"
		}
		t.add(string(rule), digits(e.Bytes), PlainSize(e.Bytes), e.Bound, meaning)
	}
	fmt.Fprintln(w)
	if err := t.writeTo(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nNo pool can use more than 15.875 GiB (17045913600 bytes) of metadata.")
	if p.Snapshots == 0 {
		fmt.Fprintln(w, "A new snapshot costs nothing; use --snapshots and --divergence to count what snapshots cost as they change.")
	}
	return advise(w, p)
}

// advise prints the recommended size.
func advise(w io.Writer, p size.Pool) error {
	a := p.Advise()
	if a.Fits {
		fmt.Fprintf(w, "The kernel keeps %s of it in reserve: when only that is free, the pool gets no new blocks.\n", PlainSize(a.Reserve))
		_, err := fmt.Fprintf(w, "To be safe:  lvcreate --poolmetadatasize %dm ...   (LVM needs the same again for its spare copy)\n", wholeMiB(a.Bytes))
		return err
	}
	fmt.Fprintf(w, "That is not enough: by the rule %s, this pool needs up to %s with the reserve of the kernel.\n", a.Rule, PlainSize(a.Need))
	fit := p.FittingBlockSize()
	if fit == 0 {
		_, err := fmt.Fprintln(w, "No block size is large enough. Use fewer devices and snapshots, or several pools.")
		return err
	}
	p.BlockSize = fit
	_, err := fmt.Fprintf(w, "To be safe:  lvcreate --chunksize %dk --poolmetadatasize %dm ...   (if the same part of the larger blocks changes)\n", fit>>10, wholeMiB(p.Advise().Bytes))
	return err
}

// Room prints the recommended metadata size for an existing pool.
func Room(w io.Writer, a size.Advice, unit cli.Unit) error {
	if !a.Fits {
		_, err := fmt.Fprintf(w, "with room to grow it needs %s, more than the 15.875 GiB that a pool can use\n", PlainSize(a.Need))
		return err
	}
	_, err := fmt.Fprintf(w, "with room to grow: %s %s (%dMiB, of which the kernel keeps %s in reserve)\n",
		size.Number(a.Bytes, unit.Bytes), unit.Name, wholeMiB(a.Bytes), PlainSize(a.Reserve))
	return err
}

func wholeMiB(bytes uint64) uint64 {
	const mib = 1 << 20
	return (bytes + mib - 1) / mib
}
