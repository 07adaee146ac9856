package view

import (
	"fmt"
	"io"

	"thinpool/internal/cli"
	"thinpool/tool/size"
)

// An estimateRecord is an estimate in JSON.
type estimateRecord struct {
	Type    string `json:"type"` // "estimate"; "summary": that of the chosen rule
	Rule    string `json:"rule"`
	Bytes   uint64 `json:"bytes"`
	Sectors uint64 `json:"sectors"`
	Bound   string `json:"bound,omitempty"` // the bound that decided
}

// SizesJSON prints the estimate that was chosen; with all, after those of all rules.
func SizesJSON(w io.Writer, p size.Pool, chosen size.Estimate, all bool) error {
	enc := NewEncoder(w)
	record := func(kind string, e size.Estimate) error {
		return enc.Encode(estimateRecord{kind, string(e.Rule), e.Bytes, e.Bytes / cli.SectorSize, e.Bound})
	}
	if all {
		for _, rule := range size.Rules {
			if err := record("estimate", p.Estimate(rule)); err != nil {
				return err
			}
		}
	}
	return record("summary", chosen)
}

// Sizes prints all rules and what they mean for a pool, of which poolSize and blockSize are as
// they were given.
func Sizes(w io.Writer, p size.Pool, poolSize, blockSize fmt.Stringer) error {
	fmt.Fprintf(w, "A pool of %v with blocks of %v: %d data blocks, %d devices.\n\n", poolSize, blockSize, p.Blocks(), p.Thins)
	columns := []string{"rule", "bytes", "size", "bound", "what it counts"}
	t := &table{columns: columns, left: columns, gap: "  "}
	meaning := map[size.Rule]string{
		size.Tree:   "half-full trees, one block per device",
		size.Kernel: "48 bytes per data block (kernel documentation)",
		size.LVM:    "64 bytes per data block (what lvcreate allocates)",
		size.Packed: "full trees: the minimum, right after thin_restore",
	}
	for _, rule := range size.Rules {
		e := p.Estimate(rule)
		t.add(string(rule), digits(e.Bytes), cli.HumanSize(e.Bytes), e.Bound, meaning[rule])
	}
	if err := t.writeTo(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nNo pool can use more than 15.875 GiB (17045913600 bytes) of metadata.")
	if fit := p.FittingBlockSize(); fit > p.BlockSize {
		fmt.Fprintf(w, "It may not be enough with blocks of this size. Blocks of %s or more fit.\n", cli.HumanSize(fit))
	}
	fmt.Fprintln(w, "A new snapshot costs nothing; use --snapshots and --divergence to count what snapshots cost as they change.")
	const mib = 1 << 20
	lvm := p.Estimate(size.LVM)
	_, err := fmt.Fprintf(w, "To be safe:  lvcreate --poolmetadatasize %dm ...   (LVM needs the same again for its spare copy)\n", (lvm.Bytes+mib-1)/mib)
	return err
}
