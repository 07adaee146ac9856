package md_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"thinpool/internal/md"
)

func recognise(image []byte) (*md.Superblock, error) {
	return md.Recognise(bytes.NewReader(image), int64(len(image)))
}

// image returns the disk of a member.
func image(m md.Member) []byte {
	p := make([]byte, m.Size)
	m.R.ReadAt(p, 0)
	return p
}

func TestSuperblock1(t *testing.T) {
	members, _ := array{level: 5, layout: 2, devices: 3, drawn: "01P-1P0-P01", edit: func(_ int, b []byte) { setFeature(b, 1) }}.make()
	s := members[1].Super
	if s.Version != "1.2" || s.UUID.String() != "61727261:79277320:55554944:202e2e2e" || s.Name != "host:name" || s.LevelName() != "raid5" ||
		s.Layout != 2 || s.Chunk != chunk || s.Devices != 3 || string(s.Device[:]) != "device's UUID 01" || s.Role != 1 || s.Events != 7 ||
		s.DataOffset != offset || s.DataSize != 16*chunk || s.Used != 16*chunk || s.State() != "clean" || !s.Bitmap ||
		s.Recovered != -1 || !s.Updated.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("%+v", s)
	}
}

// Version 0.90 in both byte orders.
func TestVersion0(t *testing.T) {
	for _, big := range []bool{false, true} {
		for name, a := range map[string]array{
			"raid1":  {level: 1, devices: 2},
			"raid5":  {level: 5, layout: 2, devices: 3, drawn: "01P-1P0-P01"},
			"raid0":  {level: 0, devices: 2, sizes: []int{32 * chunk, 32 * chunk}},
			"linear": {level: -1, devices: 2, sizes: []int{32 * chunk, 48 * chunk}},
		} {
			a.version, a.big = "0.90", big
			a.events = []uint64{1<<40 + 1, 1<<40 + 1, 1<<40 + 1}[:a.devices]
			members, want := a.make()
			s := members[1].Super
			if s.Version != "0.90" || s.UUID.String() != "11111111:22222222:33333333:44444444" || s.Events != 1<<40+1 || s.Role != 1 || !s.Clean || s.DataOffset != 0 {
				t.Errorf("%s, big %v: %+v", name, big, s)
			}
			if got := content(t, assemble(t, members, md.Options{})); !bytes.Equal(got, want) {
				t.Errorf("%s, big %v: other bytes, %d of them, want %d", name, big, len(got), len(want))
			}
		}
	}
}

func TestRoles0(t *testing.T) {
	for name, tc := range map[string]struct {
		word  int
		value uint32
		check func(s *md.Superblock) bool
	}{
		"failed":  {128 + 4, 1, func(s *md.Superblock) bool { return s.Role == md.RoleFaulty }},
		"spare":   {128 + 4, 0, func(s *md.Superblock) bool { return s.Role == md.RoleSpare }},
		"rebuilt": {128 + 4, 2, func(s *md.Superblock) bool { return s.Role == 0 && s.Recovered == 0 }},
		"dirty":   {33, 0, func(s *md.Superblock) bool { return !s.Clean && s.State() == "active" }},
		"bitmap":  {33, 1<<8 | 1, func(s *md.Superblock) bool { return s.Bitmap && s.Clean }},
		"reshape": {2, 91, func(s *md.Superblock) bool { return s.Reshape && s.State() == "reshaping" }},
	} {
		members, _ := array{version: "0.90", level: 1, devices: 2, edit: onlyRole(0, func(b []byte) { le.PutUint32(b[4*tc.word:], tc.value) })}.make()
		if s := members[0].Super; !tc.check(s) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestSuperblockRefused(t *testing.T) {
	put := func(off int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[off:], v) } }
	put64 := func(off int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[off:], v) } }
	bad := func(size uint16, at int32, shift byte) func([]byte) {
		return func(b []byte) {
			setFeature(b, 8)
			b[185] = shift
			le.PutUint16(b[186:], size)
			le.PutUint32(b[188:], uint32(at))
		}
	}
	for name, tc := range map[string]struct {
		version string
		edit    func(b []byte)
		want    string
	}{
		"features":      {"1.2", put(8, 1<<20), "it has features that are not known (0x100000)"},
		"many roles":    {"1.2", put(220, 1921), "it says that it has 1921 roles"},
		"devices":       {"1.2", put(92, 65), "an array of 65 devices, 1 to 64 are supported"},
		"no devices":    {"1.2", put(92, 0), "an array of 0 devices"},
		"role":          {"1.2", func(b []byte) { setRole(b, 0, 5) }, "role 5 in an array of 2 devices"},
		"chunk":         {"1.2", put(88, 1<<30), "chunks of 549755813888 bytes"},
		"offset":        {"1.2", put64(128, 1<<60), "an offset of 1152921504606846976 sectors"},
		"size":          {"1.2", put64(136, 1<<50), "a size of 1125899906842624 sectors"},
		"used":          {"1.2", put64(80, 1<<50), "a used size of 1125899906842624 sectors"},
		"more used":     {"1.2", put64(80, 1<<30), "the array uses 549755813888 bytes of each device, this one has 65536"},
		"log's size":    {"1.2", bad(2000, 16, 0), "its bad block log: 2000 sectors at byte 12288"},
		"log's offset":  {"1.2", bad(8, -100, 0), "its bad block log: 8 sectors at byte -47104"},
		"log's shift":   {"1.2", bad(8, 16, 30), "its bad block log: 8 sectors"},
		"log's end":     {"1.2", bad(8, 1<<20, 0), "its bad block log: 4096 bytes at byte 536875008: unexpected EOF"},
		"log's sector":  {"1.2", bad(8, 0, 20), "its bad block log: "},
		"0.90 version":  {"0.90", put(8, 92), "version 0.92"},
		"0.90 device":   {"0.90", put(4*992, 27), "it is of device 27"},
		"0.90 chunk":    {"0.90", put(4*65, 100), "chunks of 100 bytes"},
		"0.90 checksum": {"0.90", nil, "its checksum is "},
		"1.0 checksum":  {"1.0", nil, "its checksum is "},
		"1.1 checksum":  {"1.1", nil, "its checksum is "},
	} {
		a := array{version: tc.version, level: 1, devices: 2}.sane()
		a.edit = onlyRole(0, func(b []byte) {
			if tc.edit != nil {
				tc.edit(b)
			}
		})
		disk := a.image(0, make([]byte, a.used))
		if tc.edit == nil {
			at := map[string]int{"1.0": len(disk) - 8*kib, "1.1": 0, "0.90": len(disk)&^(64*kib-1) - 64*kib}[tc.version]
			disk[at+100] ^= 1
		}
		_, err := recognise(disk)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "md superblock "+tc.version+" at byte ") {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}

// A disk without a superblock, or with one in the wrong place, is not a member.
func TestNone(t *testing.T) {
	members, _ := array{level: 1, devices: 2}.make()
	disk := image(members[0])
	for name, b := range map[string][]byte{
		"empty":         nil,
		"zeros":         make([]byte, 1<<20),
		"sector":        make([]byte, 512),
		"elsewhere":     append(make([]byte, 4096), disk...),
		"version 2":     append(append([]byte{}, disk[:4096+4]...), append([]byte{2}, disk[4096+5:]...)...),
		"one too early": disk[512:],
	} {
		if s, err := recognise(b); s != nil || err != nil {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if _, err := md.Recognise(failing{bytes.NewReader(disk), 0, 1 << 20}, int64(len(disk))); err == nil || !strings.Contains(err.Error(), "device failed") {
		t.Errorf("a device that fails: %v", err)
	}
}

// If there are two superblocks, the one of the newer array counts, wherever it is. A broken one
// counts only if there is no other.
func TestTwoSuperblocks(t *testing.T) {
	created := func(n uint64) func(int, []byte) {
		return func(_ int, b []byte) { le.PutUint64(b[64:], n) }
	}
	for _, newer := range []bool{false, true} {
		n := uint64(500)
		if newer {
			n = 2000
		}
		first, _ := array{version: "1.2", level: 1, devices: 2, used: 64 * chunk}.make()
		second, _ := array{version: "1.0", level: 1, devices: 3, used: 64*chunk + offset - 8*kib, edit: created(n)}.make()
		disk := image(first[0])
		at := len(disk) - 8*kib
		other := image(second[0])
		// The data of the second one ends before its superblock. Both have the same size.
		if len(other) != len(disk) {
			other = append(other[:0], image(second[0])[len(other)-len(disk):]...)
		}
		b := other[len(other)-8*kib:][:4096]
		le.PutUint64(b[144:], uint64(at/512))
		seal1(b)
		copy(disk[at:], b)
		s, err := recognise(disk)
		if err != nil || newer != (s.Version == "1.0") {
			t.Errorf("newer %v: %+v, %v", newer, s, err)
		}
		disk[at+200] ^= 1
		if s, err := recognise(disk); err != nil || s.Version != "1.2" {
			t.Errorf("the second one broken: %+v, %v", s, err)
		}
		disk[4096+200] ^= 1
		if _, err := recognise(disk); err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("both broken: %v", err)
		}
	}
}

// Firmware metadata is found at the end of disks with either sector size.
func TestFirmware(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		disk := make([]byte, 100*kib)
		copy(disk[len(disk)-2*sector:], "Intel Raid ISM Cfg Sig. 1.2.00")
		if _, err := recognise(disk); err == nil || !strings.Contains(err.Error(), "IMSM") {
			t.Errorf("IMSM: %v", err)
		}
		clear(disk)
		binary.BigEndian.PutUint32(disk[len(disk)-sector:], 0xde11de11)
		if _, err := recognise(disk); err == nil || !strings.Contains(err.Error(), "DDF") {
			t.Errorf("DDF: %v", err)
		}
		r := failing{bytes.NewReader(disk), 99 * kib, 100 * kib}
		if _, err := md.Recognise(r, r.to); err == nil || !strings.Contains(err.Error(), "device failed") {
			t.Errorf("a device that fails there: %v", err)
		}
	}
}

// A table in which no device has a role is lost: the number of a device is its role. A member that
// failed says so itself.
func TestLostRoles0(t *testing.T) {
	const disks, states = 128, 4
	edit := func(state uint32) func(role int, b []byte) {
		return onlyRole(1, func(b []byte) {
			for i := range 27 {
				le.PutUint32(b[4*(disks+32*i+states):], 0)
			}
			le.PutUint32(b[4*(disks+32+states):], state)
		})
	}
	for state, want := range map[uint32]int{0: 1, 1: md.RoleFaulty} {
		members, _ := array{version: "0.90", level: 1, devices: 2, edit: edit(state)}.make()
		if s := members[1].Super; s.Role != want || s.Recovered != -1 {
			t.Errorf("state %d: role %d, recovered %d, want role %d", state, s.Role, s.Recovered, want)
		}
	}
}
