package e2e

import (
	"encoding/xml"
	"fmt"
	"testing"
)

// deckhouse/sds-node-configurator (images/agent/internal/utils/thin_dump_ee.go) passes the device
// before the options, and decodes into structs with signed numbers. It does not know def and ref,
// and does not wipe mappings it does not see.
func TestClient_deckhouse(t *testing.T) {
	t.Parallel()
	type single struct {
		OriginBlock int64 `xml:"origin_block,attr"`
		DataBlock   int64 `xml:"data_block,attr"`
		Time        int64 `xml:"time,attr"`
	}
	type ranges struct {
		OriginBegin int64 `xml:"origin_begin,attr"`
		DataBegin   int64 `xml:"data_begin,attr"`
		Length      int64 `xml:"length,attr"`
		Time        int64 `xml:"time,attr"`
	}
	type device struct {
		DevID        int64    `xml:"dev_id,attr"`
		MappedBlocks int64    `xml:"mapped_blocks,attr"`
		Transaction  int64    `xml:"transaction,attr"`
		CreationTime int64    `xml:"creation_time,attr"`
		SnapTime     int64    `xml:"snap_time,attr"`
		Singles      []single `xml:"single_mapping"`
		Ranges       []ranges `xml:"range_mapping"`
	}
	type superblock struct {
		XMLName       xml.Name `xml:"superblock"`
		UUID          string   `xml:"uuid,attr"`
		Time          int64    `xml:"time,attr"`
		Transaction   int64    `xml:"transaction,attr"`
		Flags         int64    `xml:"flags,attr"`
		Version       int64    `xml:"version,attr"`
		DataBlockSize int64    `xml:"data_block_size,attr"`
		NrDataBlocks  int64    `xml:"nr_data_blocks,attr"`
		Devices       []device `xml:"device"`
	}
	path := heldPool(t)
	for id, want := range read(t, path, true).mappings {
		var sb superblock
		if err := xml.Unmarshal([]byte(asked(t, "thin_dump", path, "-m", "-f", "xml", "--dev-id", fmt.Sprint(id))), &sb); err != nil {
			t.Fatal(err)
		}
		if sb.Version != 2 || sb.DataBlockSize != 128 || len(sb.Devices) != 1 || sb.Devices[0].DevID != int64(id) {
			t.Fatalf("%+v", sb)
		}
		found := blocks{}
		for _, s := range sb.Devices[0].Singles {
			found.add(uint64(s.OriginBlock), uint64(s.DataBlock), 1)
		}
		for _, r := range sb.Devices[0].Ranges {
			found.add(uint64(r.OriginBegin), uint64(r.DataBegin), uint64(r.Length))
		}
		sameBlocks(t, found, want)
	}
}
