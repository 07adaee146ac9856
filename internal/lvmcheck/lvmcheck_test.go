package lvmcheck_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/internal/lvmcheck"
	"thinpool/internal/pdata/spacemap"
	"thinpool/lvm"
	"thinpool/metadata"
)

// A pool of 16 chunks of 128 sectors with volumes base, device 1, and snap, device 2.
const groupText = `vg {
id = "aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaaa"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 128
max_lv = 0
max_pv = 0
physical_volumes {
pv0 {
id = "bbbbbb-bbbb-bbbb-bbbb-bbbb-bbbb-bbbbbb"
status = ["ALLOCATABLE"]
dev_size = 8192
pe_start = 2048
pe_count = 32
}
}
logical_volumes {
pool {
id = "cccccc-cccc-cccc-cccc-cccc-cccc-cccccc"
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 {
start_extent = 0
extent_count = 16
type = "thin-pool"
metadata = "pool_tmeta"
pool = "pool_tdata"
transaction_id = TRANSACTION
chunk_size = 128
MESSAGES
}
}
base {
id = "dddddd-dddd-dddd-dddd-dddd-dddd-dddddd"
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 {
start_extent = 0
extent_count = 8
type = "thin"
thin_pool = "pool"
transaction_id = 0
device_id = 1
}
}
snap {
id = "eeeeee-eeee-eeee-eeee-eeee-eeee-eeeeee"
status = ["READ", "WRITE", "VISIBLE"]
segment_count = 1
segment1 {
start_extent = 0
extent_count = 8
type = "thin"
thin_pool = "pool"
transaction_id = 4
device_id = SNAP
}
}
pool_tmeta {
id = "ffffff-ffff-ffff-ffff-ffff-ffff-ffffff"
status = ["READ", "WRITE"]
segment_count = 1
segment1 {
start_extent = 0
extent_count = 4
type = "striped"
stripe_count = 1
stripes = ["pv0", 0]
}
}
pool_tdata {
id = "gggggg-gggg-gggg-gggg-gggg-gggg-gggggg"
status = ["READ", "WRITE"]
segment_count = 1
segment1 {
start_extent = 0
extent_count = 16
type = "striped"
stripe_count = 1
stripes = ["pv0", 4]
}
}
}
}
contents = "Text Format Volume Group"
version = 1
description = ""
creation_host = "host"
creation_time = 1
`

// side is what LVM and the metadata say in a test.
type side struct {
	lvm      uint64 // transaction id
	messages string
	snap     uint64 // device id of snap
	metadata uint64 // transaction id
	chunk    uint32
	blocks   uint64
	devices  []metadata.Device
}

// agreed returns two sides that agree.
func agreed() side {
	return side{lvm: 5, snap: 2, metadata: 5, chunk: 128, blocks: 16, devices: []metadata.Device{
		{ID: 1, Details: metadata.Details{MappedBlocks: 3}},
		{ID: 2, Details: metadata.Details{TransactionID: 4}},
	}}
}

func (s side) compare(t *testing.T) []lvmcheck.Difference {
	t.Helper()
	text := strings.NewReplacer("TRANSACTION", fmt.Sprint(s.lvm), "MESSAGES", s.messages, "SNAP", fmt.Sprint(s.snap)).Replace(groupText)
	g, err := lvm.ParseGroup([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	sb := metadata.Superblock{TransactionID: s.metadata, DataBlockSize: s.chunk, DataSpaceMap: spacemap.Root{NrBlocks: s.blocks}}
	return lvmcheck.Pool{Group: g, Volume: g.Volume("pool"), Superblock: sb, Devices: s.devices}.Compare()
}

func TestCompare(t *testing.T) {
	const create, remove = `message1 { create = "snap" }`, `message1 { delete = 3 }`
	third := metadata.Device{ID: 3, Details: metadata.Details{TransactionID: 4, MappedBlocks: 7}}
	tests := map[string]struct {
		change func(*side)
		want   []lvmcheck.Code // refused ones start with an exclamation mark
		says   string
		fix    string // part of the first difference's commands
	}{
		"agreed":              {func(*side) {}, nil, "", ""},
		"LVM does not look":   {func(s *side) { s.lvm = 0 }, nil, "", ""},
		"one step":            {func(s *side) { s.lvm = 6 }, []lvmcheck.Code{"transaction-id"}, "LVM accepts a difference of one", ""},
		"messages done":       {func(s *side) { s.messages = create }, nil, "", ""},
		"create to be sent":   {func(s *side) { s.metadata, s.messages, s.devices = 4, create, s.devices[:1] }, []lvmcheck.Code{"transaction-id"}, "snap", ""},
		"delete to be sent":   {func(s *side) { s.metadata, s.messages, s.devices = 4, remove, append(s.devices, third) }, []lvmcheck.Code{"transaction-id"}, "3", ""},
		"metadata ahead":      {func(s *side) { s.metadata = 6 }, []lvmcheck.Code{"!transaction-id"}, "vg-pool-tpool transaction_id is 6, while expected 5", "thin_dump --transaction-id 5 /dev/vg/pool_tmeta"},
		"LVM ahead":           {func(s *side) { s.lvm = 7 }, []lvmcheck.Code{"!transaction-id"}, "LVM is ahead", "thin_dump --transaction-id 7"},
		"ahead with messages": {func(s *side) { s.lvm, s.messages = 9, create }, []lvmcheck.Code{"!transaction-id"}, "transaction_id is 5, while expected 8", "thin_dump --transaction-id 8"},
		"a device more": {
			func(s *side) { s.metadata, s.devices = 8, append(s.devices, third) },
			[]lvmcheck.Code{"!transaction-id", "device-without-volume"},
			"LVM does not know all devices (3)", "",
		},
		"a device less": {
			func(s *side) { s.metadata, s.devices = 2, s.devices[:1] },
			[]lvmcheck.Code{"!transaction-id", "!volume-without-device"},
			"The metadata lacks volumes (snap)", "",
		},
		"another volume": {
			func(s *side) { s.devices[1].TransactionID = 3 },
			[]lvmcheck.Code{"!volume-transaction-id"},
			"volume vg/snap was created in transaction 4, but device 2 in transaction 3", "",
		},
		"forgotten device": {
			func(s *side) { s.devices = append(s.devices, third) },
			[]lvmcheck.Code{"device-without-volume"},
			"no volume uses device 3", "dmsetup message vg-pool-tpool 0 'delete 3'",
		},
		"same device":   {func(s *side) { s.snap, s.devices = 1, s.devices[:1] }, []lvmcheck.Code{"!device-id-twice", "!volume-transaction-id"}, "vg/base and vg/snap have the same device id 1", ""},
		"chunk size":    {func(s *side) { s.chunk = 256 }, []lvmcheck.Code{"!chunk-size"}, "128 sectors, but the metadata has data blocks of 256", ""},
		"data too long": {func(s *side) { s.blocks = 17 }, []lvmcheck.Code{"!data-size"}, "the metadata has 17 data blocks, but vg/pool_tdata has room for only 16", ""},
		"not yet grown": {func(s *side) { s.blocks = 12 }, []lvmcheck.Code{"data-size"}, "grows", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := agreed()
			test.change(&s)
			found := s.compare(t)
			var got []lvmcheck.Code
			for _, d := range found {
				code := d.Code
				if d.Refused {
					code = "!" + code
				}
				got = append(got, code)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Fatalf("%s\n%v", diff, found)
			}
			if test.says != "" && !strings.Contains(found[0].Text, test.says) {
				t.Errorf("%q does not say %q", found[0].Text, test.says)
			}
			if len(found) > 0 && (test.fix != "") != (len(found[0].Fix) > 0) ||
				test.fix != "" && !slices.ContainsFunc(found[0].Fix, func(c string) bool { return strings.Contains(c, test.fix) }) {
				t.Errorf("commands %q, want %q", found[0].Fix, test.fix)
			}
		})
	}
}
