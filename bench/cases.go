package main

// A benchCase is a command of ours and the peer's for the same work. Words in capitals stand for
// files; see files.expand.
type benchCase struct {
	name string
	ours string
	peer string // "=": the same command; "": the peer cannot do it
	not  []string
	// output: each run writes to a new OUT, as large as the shape's device.
	output   bool
	baseline bool // the peer is a program that does only the necessary work
}

// few lists the shapes with one device.
var few = []string{"S"}

var cases = []benchCase{
	{name: "thin_check", ours: "thin_check -q META", peer: "="},
	{name: "thin_check; the peer is the baseline", ours: "thin_check -q META", peer: "WORK/floor blocks -threads 2 -walk META", baseline: true},
	{name: "thin_check --super-block-only", ours: "thin_check --super-block-only META", peer: "="},
	{name: "thin_check --skip-mappings", ours: "thin_check -q --skip-mappings META", peer: "="},
	{name: "thin_check, a damaged leaf", ours: "thin_check -q DAMAGED", peer: "="},
	{name: "thin_check of a pack", ours: "thin_check -q PACK"},
	{name: "thin_dump to /dev/null", ours: "thin_dump META", peer: "="},
	{name: "thin_dump to .zst", ours: "thin_dump -o ZST META", peer: "PEER/thin_dump META | zstd -q -T0 -3 -f -o ZST"},
	{name: "thin_dump --dev-id", ours: "thin_dump --dev-id 0 META", peer: "="},
	{name: "thin_dump --skip-mappings", ours: "thin_dump --skip-mappings META", peer: "="},
	{name: "thin_dump -f human_readable", ours: "thin_dump -f human_readable META", peer: "="},
	{name: "thin_dump --repair", ours: "thin_dump --repair META", peer: "="},
	{name: "thin_dump --repair, a damaged leaf", ours: "thin_dump --repair DAMAGED", peer: "="},
	{name: "thin_restore", ours: "thin_restore -q -i XML -o OUT", peer: "=", output: true},
	{name: "thin_repair", ours: "thin_repair -q -i META -o OUT", peer: "=", output: true},
	{name: "thin_repair, a damaged leaf", ours: "thin_repair -q -i DAMAGED -o OUT", peer: "=", output: true},
	{name: "thin_ls", ours: "thin_ls META", peer: "="},
	{name: "thin_ls with EXCLUSIVE", ours: "thin_ls -o DEV,EXCLUSIVE META", peer: "="},
	{name: "thin_delta", ours: "thin_delta --thin1 0 --thin2 1 META", peer: "=", not: few},
	{name: "thin_delta --verbose", ours: "thin_delta --verbose --thin1 0 --thin2 1 META", peer: "=", not: few},
	{name: "thin_rmap, all blocks", ours: "thin_rmap --region 0..BLOCKS META", peer: "="},
	{name: "thin_rmap, one block", ours: "thin_rmap --region 0..1 META", peer: "="},
	{name: "thin_rmap, 100 regions", ours: "thin_rmap REGIONS META", peer: "="},
	{name: "thin_metadata_pack", ours: "thin_metadata_pack -f -i META -o OUT", peer: "=", output: true},
	{name: "thin_metadata_unpack", ours: "thin_metadata_unpack -f -i PACK -o OUT", peer: "=", output: true},
	{name: "thin_shrink to the same size", ours: "thin_shrink --no-copy --data DATA --nr-blocks BLOCKS -i XML -o /dev/null", peer: "="},
	{name: "thin_metadata_size", ours: "thin_metadata_size -b 64k -s 1t -m 100", peer: "="},
	{name: "thin_metadata_size --from", ours: "thin_metadata_size --from META"},
	{name: "thin_stat", ours: "thin_stat META"},
	{name: "thin_stat --op metadata_blocks", ours: "thin_stat --op metadata_blocks META"},
	{name: "thin_stat --op data_run_len", ours: "thin_stat --op data_run_len META"},
	{name: "thin_stat --op devices", ours: "thin_stat --op devices META"},
	{name: "thin_scan", ours: "thin_scan META"},
	{name: "thin_report", ours: "thin_report META -o HTML"},
}
