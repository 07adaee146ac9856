// Package command implements the tools: one file per tool, with its options, what it does and what
// it prints.
package command

import (
	"maps"

	"thinpool/internal/cli"
	"thinpool/internal/licenses"
)

// The tools.
var (
	CheckTool = cli.Tool{
		Name: "thin_check", Summary: "Validate thin provisioning metadata.",
		New: func() cli.Command { return new(Check) },
	}
	DeltaTool = cli.Tool{
		Name: "thin_delta", Summary: "Compare the mappings of two thin devices.",
		New: func() cli.Command { return new(Delta) },
	}
	DumpTool = cli.Tool{
		Name: "thin_dump", Summary: "Dump thin provisioning metadata as XML, JSON or text.",
		New: func() cli.Command { return new(Dump) },
	}
	ExportTool = cli.Tool{
		Name: "thin_export", Summary: "Copy the contents of a thin device without activating its pool.",
		New: func() cli.Command { return new(Export) },
	}
	FilesTool = cli.Tool{
		Name: "thin_files", Summary: "List the files that lie in given ranges of a volume.",
		New: func() cli.Command { return new(Files) },
	}
	GenerateTool = cli.Tool{
		Name: "thin_generate", Summary: "Generate thin provisioning metadata for tests and benchmarks.",
		New: func() cli.Command { return new(Generate) },
	}
	LsTool = cli.Tool{
		Name: "thin_ls", Summary: "List the thin devices of a pool.",
		New: func() cli.Command { return new(Ls) },
	}
	MetadataPackTool = cli.Tool{
		Name: "thin_metadata_pack", Summary: "Pack thin provisioning metadata into a small file.",
		New: func() cli.Command { return new(Pack) },
	}
	MetadataSizeTool = cli.Tool{
		Name: "thin_metadata_size", Summary: "Estimate how much metadata a thin pool needs.",
		New: func() cli.Command { return new(MetadataSize) },
	}
	MetadataUnpackTool = cli.Tool{
		Name: "thin_metadata_unpack", Summary: "Unpack a file made by thin_metadata_pack.",
		New: func() cli.Command { return new(Unpack) },
	}
	MigrateTool = cli.Tool{
		Name: "thin_migrate", Summary: "Copy a thin device of an active pool to another device or to a file.",
		New: func() cli.Command { return new(Migrate) },
	}
	ReceiveTool = cli.Tool{
		Name: "thin_receive", Summary: "Make a thin pool of a stream that thin_send wrote.",
		New: func() cli.Command { return new(Receive) },
	}
	RepairTool = cli.Tool{
		Name: "thin_repair", Summary: "Repair damaged thin provisioning metadata.",
		New: func() cli.Command { return new(Repair) },
	}
	ReportTool = cli.Tool{
		Name: "thin_report", Summary: "Show a thin pool as a web page, as JSON or as gauges for Prometheus.",
		New: func() cli.Command { return new(Report) },
	}
	RestoreTool = cli.Tool{
		Name: "thin_restore", Summary: "Restore thin provisioning metadata from a dump.",
		New: func() cli.Command { return new(Restore) },
	}
	StatTool = cli.Tool{
		Name: "thin_stat", Summary: "Print statistics about sharing, fragmentation and node fill.",
		New: func() cli.Command { return new(Stat) },
	}
	RmapTool = cli.Tool{
		Name: "thin_rmap", Summary: "List the thin devices that map a region of the data device.",
		New: func() cli.Command { return new(Rmap) },
	}
	ScanTool = cli.Tool{
		Name: "thin_scan", Summary: "List what each block of a metadata device holds.",
		New: func() cli.Command { return new(Scan) },
	}
	SendTool = cli.Tool{
		Name: "thin_send", Summary: "Write a whole thin pool, with its sharing, as one stream.",
		New: func() cli.Command { return new(Send) },
	}
	ShrinkTool = cli.Tool{
		Name: "thin_shrink", Summary: "Change the number of data blocks of an inactive pool.",
		New: func() cli.Command { return new(Shrink) },
	}
	TrimTool = cli.Tool{
		Name: "thin_trim", Summary: "Discard the free blocks of the data device of an inactive pool.",
		New: func() cli.Command { return new(Trim) },
	}
	VolumesTool = cli.Tool{
		Name: "thin_volumes", Summary: "List LVM volumes and thin pool usage on disks or disk images.",
		New: func() cli.Command { return new(ThinVolumes) },
	}
)

// Tools returns all tools.
func Tools() []cli.Tool {
	return []cli.Tool{
		CheckTool,
		DeltaTool,
		DumpTool,
		ExportTool,
		FilesTool,
		GenerateTool,
		LsTool,
		MetadataPackTool,
		MetadataSizeTool,
		MetadataUnpackTool,
		MigrateTool,
		ReceiveTool,
		RepairTool,
		ReportTool,
		RestoreTool,
		RmapTool,
		ScanTool,
		SendTool,
		ShrinkTool,
		StatTool,
		TrimTool,
		VolumesTool,
	}
}

// LVMConfigTool is a subcommand of thin_tools without a program name of its own.
var LVMConfigTool = cli.Tool{
	Name: "thin_tools lvm-config", Summary: "Print the settings that make LVM run these tools.",
	New: func() cli.Command { return new(LVMConfig) },
}

// Apart returns the tools with a binary of their own, which are not in thin_tools.
func Apart() []cli.Tool { return []cli.Tool{ExploreTool(Screen{})} }

// Completions returns the shell completion files of all tools, by path.
func Completions() (map[string]string, error) {
	files, err := Multi().Completions()
	for _, t := range Apart() {
		more, err := t.Completions()
		if err != nil {
			return nil, err
		}
		maps.Copy(files, more)
	}
	return files, err
}

// Multi returns thin_tools.
func Multi() cli.Multi {
	return cli.Multi{Tools: Tools(), Own: []cli.Tool{LVMConfigTool}, Licenses: licenses.Text}
}
