package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// nkshirsagar/thinpool_shrink (thin_shrink.py) parses eight words from the first line of a dump, as
// 0.9 writes it, and rewrites the data blocks of mappings, all of which must be inside devices. So
// it needs THIN_DUMP_STYLE=0.9.
func TestClient_thinpool_shrink(t *testing.T) {
	path := fixture(t, "wide-sharing")
	want := read(t, path, false)
	t.Setenv("THIN_DUMP_STYLE", "0.9")
	first, rest, _ := strings.Cut(asked(t, "thin_dump", path), "\n")
	words := strings.Fields(first)
	if len(words) != 8 || !strings.HasPrefix(words[7], `nr_data_blocks="`) {
		t.Fatalf("first line %q", first)
	}
	nr := strings.TrimSuffix(strings.TrimPrefix(words[7], `nr_data_blocks="`), `">`)
	if nr != fmt.Sprint(want.superblock.DataSpaceMap.NrBlocks) {
		t.Errorf("%s data blocks", nr)
	}
	// In each mapping line, the data block starts 12 characters after data_.
	var rewritten strings.Builder
	rewritten.WriteString(first + "\n")
	for line := range strings.Lines(rest) {
		if i := strings.Index(line, "data_"); i >= 0 {
			i += len(`data_block="`)
			number, tail, _ := strings.Cut(line[i:], `"`)
			line = line[:i] + fmt.Sprint(must(strconv.ParseUint(number, 10, 64))+1) + `"` + tail
		}
		rewritten.WriteString(line)
	}
	made := read(t, restore(t, rewritten.String(), size(t, path)), false)
	for id, mappings := range want.mappings {
		moved := blocks{}
		for thin, data := range mappings {
			moved[thin] = data + 1
		}
		sameBlocks(t, made.mappings[id], moved)
	}
	shrinkRegions(t, path, want)
}

// shrinkRegions lists with thin_rmap who maps the blocks to move. The client splits the second word
// at the dots.
func shrinkRegions(t *testing.T, path string, want content) {
	nr := want.superblock.DataSpaceMap.NrBlocks
	used := map[uint64]bool{}
	for line := range strings.Lines(asked(t, "thin_rmap", "--region", fmt.Sprintf("0..%d", nr), path)) {
		bounds := strings.Split(strings.Fields(line)[1], ".")
		begin, end := must(strconv.ParseUint(bounds[0], 10, 64)), must(strconv.ParseUint(bounds[2], 10, 64))
		for b := begin; b < end; b++ {
			used[b] = true
		}
	}
	for id, mappings := range want.mappings {
		for _, data := range mappings {
			if !used[data] {
				t.Fatalf("block %d of device %d is not listed", data, id)
			}
		}
	}
}
