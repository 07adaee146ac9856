package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"thinpool/internal/printable"
	"thinpool/metadata"
)

// Prometheus writes gauges in the Prometheus text format, for node_exporter's textfile collector.
func (r *Report) Prometheus(w io.Writer) error {
	g := gauges{Writer: bufio.NewWriter(w), pool: label("pool", r.Pool)}
	g.one("thinpool_superblock_readable", "1 if the superblock of the pool can be read.", flag(r.Superblock != nil))
	if sb := r.Superblock; sb != nil {
		metaUsed := sb.MetadataSpaceMap.NrBlocks - sb.FreeMetadataBlocks()
		g.one("thinpool_data_blocks", "Blocks of the data device.", sb.DataSpaceMap.NrBlocks)
		g.one("thinpool_data_blocks_used", "Blocks of the data device in use.", sb.DataSpaceMap.NrAllocated)
		g.one("thinpool_data_block_bytes", "Size of a data block.", uint64(sb.DataBlockSize)*512)
		g.one("thinpool_metadata_blocks", "Blocks of the metadata.", sb.MetadataSpaceMap.NrBlocks)
		g.one("thinpool_metadata_blocks_used", "Blocks of the metadata in use.", metaUsed)
		g.one("thinpool_metadata_blocks_reserved", "Blocks of the metadata that the kernel keeps for itself.", metadata.Reserve(sb.MetadataSpaceMap.NrBlocks))
		g.one("thinpool_transaction_id", "Transaction of the superblock.", sb.TransactionID)
		g.one("thinpool_needs_check", "1 if needs_check is set.", flag(sb.Flags&metadata.NeedsCheck != 0))
	}
	g.help("thinpool_faults", "Faults that thin_check finds.")
	for _, f := range []struct {
		severity string
		n        uint64
	}{{"fatal", r.Check.Fatal}, {"non-fatal", r.Check.NonFatal}, {"note", r.Check.Notes}} {
		g.value("thinpool_faults", f.n, label("severity", f.severity))
	}
	if r.Mapped {
		g.volumes(r.Volumes)
	}
	return g.Flush()
}

// gauges writes the gauges of a pool.
type gauges struct {
	*bufio.Writer
	pool string
}

// volumes writes the gauges of each volume.
func (g *gauges) volumes(volumes []Volume) {
	for _, m := range []struct {
		name, help string
		of         func(*Volume) uint64
	}{
		{"thinpool_volume_mapped_blocks", "Data blocks that the volume maps.", func(v *Volume) uint64 { return v.MappedBlocks }},
		{"thinpool_volume_exclusive_blocks", "Data blocks that deleting the volume would free.", func(v *Volume) uint64 { return v.Exclusive }},
		{"thinpool_volume_shared_blocks", "Mapped data blocks that are not exclusive.", func(v *Volume) uint64 { return v.Shared }},
	} {
		g.help(m.name, m.help)
		for i := range volumes {
			v := &volumes[i]
			g.value(m.name, m.of(v), label("volume", v.Name), fmt.Sprintf(`dev_id="%d"`, v.ID))
		}
	}
}

func (g *gauges) one(name, help string, value uint64) {
	g.help(name, help)
	g.value(name, value)
}

func (g *gauges) help(name, text string) {
	fmt.Fprintf(g, "# HELP %s %s\n# TYPE %s gauge\n", name, text, name)
}

func (g *gauges) value(name string, value uint64, labels ...string) {
	fmt.Fprintf(g, "%s{%s} %d\n", name, strings.Join(append([]string{g.pool}, labels...), ","), value)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// label formats a label with its value, which may be any text.
func label(name, value string) string {
	return name + `="` + labelEscapes.Replace(printable.Text(value)) + `"`
}

func flag(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}
