package e2e

import (
	"fmt"
	"testing"

	"thinpool/metadata"
)

// traktofon/thinpool-unscramble (thin_unscramble.sh) reassembles volumes from thin_rmap lines for
// the whole data device: five words, both ranges half-open and equally long.
func TestClient_thinpool_unscramble(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"sequential", "wide-sharing"} {
		path := fixture(t, name)
		want := read(t, path, false)
		found := map[metadata.DevID]blocks{}
		for m := range expand(t, asked(t, "thin_rmap", "--region", fmt.Sprintf("0..%d", want.superblock.DataSpaceMap.NrBlocks), path)) {
			id := metadata.DevID(m.dev)
			if found[id] == nil {
				found[id] = blocks{}
			}
			found[id][m.thin] = m.data
		}
		for id, mappings := range want.mappings {
			sameBlocks(t, found[id], mappings)
		}
	}
}
