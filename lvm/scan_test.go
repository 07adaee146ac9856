package lvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/lvm"
	"thinpool/lvm/internal/text"
)

func oneDisk(v pv) []byte {
	disk := make([]byte, diskSize)
	v.put(disk)
	return disk
}

var plain = vg{pvs: []string{id('a')}, lvs: lv("x", 2, linear("pv0", 0))}

// Label, header, areas and text are found wherever they are.
func TestScan(t *testing.T) {
	long := plain
	long.extra = "tags = [\"" + strings.Repeat("t", 3000) + "\"]"
	for name, v := range map[string]pv{
		"usual":        {id: id('a'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: plain.text()}}},
		"label 0":      {id: id('a'), sector: 0, areas: []area{{at: areaAt, size: areaLen, text: plain.text()}}},
		"label 3":      {id: id('a'), sector: 3, areas: []area{{at: areaAt, size: areaLen, text: plain.text()}}},
		"no extension": {id: id('a'), sector: 1, noExt: true, areas: []area{{at: areaAt, size: areaLen, text: plain.text()}}},
		"bootloader":   {id: id('a'), sector: 1, boot: [][2]uint64{{diskSize - 8192, 8192}}, areas: []area{{at: areaAt, size: areaLen, text: plain.text()}}},
		"at its end":   {id: id('a'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: plain.text(), textAt: areaLen - uint64(len(plain.text())) - 1}}},
		"NUL wraps":    {id: id('a'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: plain.text(), textAt: areaLen - uint64(len(plain.text()))}}},
		"wraps":        {id: id('a'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: long.text(), textAt: areaLen - 512}}},
		"second area":  {id: id('a'), sector: 1, areas: []area{{at: areaAt, size: areaLen}, {at: diskSize - 16384, size: 16384, text: plain.text()}}},
		"full ring":    {id: id('a'), sector: 1, areas: []area{{at: areaAt, size: uint64(len(plain.text())) + 1 + 512, text: plain.text()}}},
	} {
		t.Run(name, func(t *testing.T) {
			disk := oneDisk(v)
			before := slices.Clone(disk)
			set := scan(t, disk)
			g := one(t, set)
			d := set.Disks[0]
			if len(set.Problems)+len(g.Problems) > 0 {
				t.Errorf("problems %v, %v", set.Problems, g.Problems)
			}
			if d.ID != dashed(id('a')) || d.Sector != v.sector || d.DeviceSize != diskSize || len(d.Metadata) != len(v.areas) || len(d.BootAreas) != len(v.boot) ||
				d.Used == v.noExt || d.GroupID != g.ID || d.Seqno != 1 || len(d.DataAreas) != 1 || d.DataAreas[0].Offset != dataAt {
				t.Errorf("%+v", d)
			}
			if g.Name != "vg" || g.ID != dashed(id('V')) || g.ExtentSize != extent/512 || g.PVs[0].Disk != d || g.Description != `a "test"` ||
				g.CreationTime != 1700000000 || g.Volume("x").Size != 2*extent || !g.Volume("x").Visible() || g.PV("pv0").Extents != diskPEs {
				t.Errorf("%+v", g)
			}
			if last := v.areas[len(v.areas)-1].text; string(g.Text) != last {
				t.Errorf("text %q, want %q", g.Text, last)
			}
			if !bytes.Equal(disk, before) {
				t.Error("the disk has changed")
			}
		})
	}
}

// Unusable things are reported and not used.
func TestScanProblems(t *testing.T) {
	good := area{at: areaAt, size: areaLen, text: plain.text()}
	with := func(change func(*area)) []byte {
		a := good
		change(&a)
		return oneDisk(pv{id: id('a'), sector: 1, areas: []area{a}})
	}
	header := func(change func(h []byte)) []byte { return with(func(a *area) { a.spoil = change }) }
	spoilt := func(at int, change ...byte) []byte {
		disk := oneDisk(pv{id: id('a'), sector: 1, areas: []area{good}})
		for i, c := range change {
			disk[at+i] += c
		}
		return disk
	}
	listed := func(change func(b []byte)) []byte { // with a valid CRC
		disk := spoilt(0)
		change(disk[512:1024])
		le.PutUint32(disk[512+16:], crc(disk[512+20:1024]))
		return disk
	}
	for want, disk := range map[string][]byte{
		"no LVM label in disk0":                  make([]byte, diskSize),
		"label-like sector 1 of disk0 has a bad": spoilt(512+40, 1),
		"says it is sector 2":                    spoilt(512+8, 1),
		`is of type "LVM1 001"`:                  listed(func(b []byte) { b[27] = '1' }),
		"has its PV header at 600":               listed(func(b []byte) { le.PutUint32(b[20:], 600) }),
		"an unterminated list of areas": listed(func(b []byte) {
			for i := 72; i < 512; i++ {
				b[i] = 1
			}
		}),
		"header has a bad CRC":           spoilt(areaAt+45, 1),
		"a wrong magic":                  header(func(h []byte) { h[5]++ }),
		"journalled":                     header(func(h []byte) { copy(h[4:], "JOURNALLED!1!1!!") }),
		"of version 2":                   header(func(h []byte) { h[20]++ }),
		"it starts at byte 4097":         header(func(h []byte) { h[24]++ }),
		"it has 1000 bytes":              header(func(h []byte) { le.PutUint64(h[32:], 1000) }),
		"it has 18446744073709551":       header(func(h []byte) { le.PutUint64(h[32:], 1<<64-1) }),
		"the text is at 100":             header(func(h []byte) { le.PutUint64(h[40:], 100) }),
		"the text is at 999999":          header(func(h []byte) { le.PutUint64(h[40:], 999999) }),
		"and 999999 bytes long":          header(func(h []byte) { le.PutUint64(h[48:], 999999) }),
		"bytes too short":                header(func(h []byte) { le.PutUint64(h[32:], 1<<40); le.PutUint64(h[40:], 1<<39) }),
		"99999999 bytes long, more than": header(func(h []byte) { le.PutUint64(h[32:], 1<<40); le.PutUint64(h[48:], 99999999) }),
		"text has a bad CRC":             with(func(a *area) { a.spoilText = true }),
		"marked as ignored":              with(func(a *area) { a.ignored = true }),
		"text: line 5: the text ends":    with(func(a *area) { a.text = "a {\nb {\n\n\n" }),
		"beyond the end":                 listed(func(b []byte) { le.PutUint64(b[72+32:], 1<<63) }),
		"is missing: add --pv IMAGE":     fixtures.Leg{Level: 1, Devices: 2, Events: 1}.Make(make([]byte, diskSize)),
		"disk0 is encrypted (LUKS) and":  append([]byte("LUKS\xba\xbe\x00\x01"), make([]byte, diskSize)...),
	} {
		set := scan(t, disk)
		if len(set.Groups) > 0 || !has(set.Problems, want) {
			t.Errorf("%d groups, problems %q, want %q", len(set.Groups), set.Problems, want)
		}
	}
	// A bad label is skipped; a good one after it counts.
	disk := oneDisk(pv{id: id('a'), sector: 2, areas: []area{good}})
	copy(disk, "LABELONE")
	if set := scan(t, disk); len(set.Groups) != 1 || set.Disks[0].Sector != 2 || !has(set.Problems, "sector 0") {
		t.Errorf("%d groups, problems %v", len(set.Groups), set.Problems)
	}
	// An interrupted commit is reported.
	if set := scan(t, with(func(a *area) { a.slot1 = true })); len(set.Groups) != 1 || !has(set.Problems, "interrupted") || !set.Disks[0].Metadata[0].Precommitted {
		t.Errorf("%d groups, problems %v", len(set.Groups), set.Problems)
	}
}

// Of all texts of a group, the one with the highest seqno counts, whatever disk it is on.
func TestNewest(t *testing.T) {
	both := []string{id('a'), id('b')}
	make2 := func(first, second vg) *lvm.Set {
		first.pvs, second.pvs = both, both
		return scan(t,
			oneDisk(pv{id: id('a'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: first.text()}}}),
			oneDisk(pv{id: id('b'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: second.text()}}}))
	}
	g := one(t, make2(vg{seqno: 3, lvs: lv("old", 1, linear("pv0", 0))}, vg{seqno: 4, name: "renamed", lvs: lv("new", 1, linear("pv0", 0))}))
	if g.Name != "renamed" || g.Seqno != 4 || g.Volume("new") == nil || !has(g.Problems, "disk0: its metadata (sequence number 3) is older") || len(g.Problems) != 1 {
		t.Errorf("%s %d, problems %v", g.Name, g.Seqno, g.Problems)
	}
	g = one(t, make2(vg{seqno: 4}, vg{seqno: 4, extra: "max_lv = 3"}))
	if !has(g.Problems, "differs") {
		t.Errorf("problems %v", g.Problems)
	}
	if set := make2(vg{seqno: 4}, vg{seqno: 4}); len(set.Problems)+len(one(t, set).Problems) > 0 {
		t.Errorf("problems %v, %v", set.Problems, set.Groups[0].Problems)
	}
	// An unreadable disk does not keep the others from being read.
	broken := disk.New("broken", failing{}, diskSize)
	if set, err := lvm.Scan(t.Context(), lvm.Options{}, append(images(disks(1, vg{})...), broken)...); err != nil || len(set.Groups) != 1 || !has(set.Problems, "broken: byte 0: device failed") {
		t.Errorf("%v, problems %v", err, set.Problems)
	}
	// Two installations with the same name are told apart by their ids.
	set := scan(t, disks(1, vg{})[0], disks(2, vg{id: 'W'})[1])
	_, err := set.Group("vg")
	byID, errID := set.Group(dashed(id('W')))
	if len(set.Groups) != 2 || !has(set.Problems, "two volume groups are called vg") || err == nil || errID != nil || byID.ID != dashed(id('W')) {
		t.Errorf("%d groups, problems %v, errors %v, %v", len(set.Groups), set.Problems, err, errID)
	}
	if _, err := set.Group("none"); err == nil {
		t.Error("there is a group that there is not")
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("device failed") }

// Clones are not used, missing disks are named, and disks of other groups are ignored.
func TestDisks(t *testing.T) {
	made := disks(2, vg{lvs: lv("x", 1, linear("pv0", 0)) + lv("y", 1, linear("pv1", 0))})
	g := one(t, scan(t, made[0], made[0], made[1]))
	if !has(g.Problems, "pv0 ("+dashed(id('a'))+") was found 2 times, as disk0 and disk1") || g.PV("pv0").Disk != nil || g.PV("pv1").Disk == nil {
		t.Errorf("problems %v", g.Problems)
	}
	if _, err := read(g, "x"); err == nil || !strings.Contains(err.Error(), "leave out all but one") {
		t.Errorf("x is read: %v", err)
	}
	if _, err := read(g, "y"); err != nil {
		t.Error(err)
	}
	g = one(t, scan(t, made[1]))
	if !has(g.Problems, "pv0 ("+dashed(id('a'))+", last seen as /dev/sda) is missing") {
		t.Errorf("problems %v", g.Problems)
	}
	// A disk that moved to another group is not used for the old one.
	other := oneDisk(pv{id: id('a'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: vg{name: "other", id: 'W', pvs: []string{id('a')}}.text()}}})
	set := scan(t, other, made[1])
	if g, err := set.Group("vg"); err != nil || !has(g.Problems, "now belongs to another volume group") || g.PV("pv0").Disk != nil {
		t.Errorf("%v, problems %v", err, g.Problems)
	}
	// A truncated image is reported.
	if g := one(t, scan(t, made[0][:diskSize-1000], made[1])); !has(g.Problems, "1000 bytes shorter") {
		t.Errorf("problems %v", g.Problems)
	}
	// So is an unknown disk.
	for want, v := range map[string]pv{
		"belongs to a volume group whose metadata was not found": {id: id('y'), sector: 1},
		"is a physical volume without a volume group":            {id: id('y'), sector: 1, noExt: true},
	} {
		if set := scan(t, made[0], made[1], oneDisk(v)); !has(set.Problems, "disk2 ("+dashed(id('y'))+") ") || !has(set.Problems, want) {
			t.Errorf("problems %v, want %q", set.Problems, want)
		}
	}
	// A disk whose text does not mention it.
	stray := oneDisk(pv{id: id('z'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: plain.text()}}})
	if g := one(t, scan(t, stray)); !has(g.Problems, "does not belong to it") {
		t.Errorf("problems %v", g.Problems)
	}
}

// A backup replaces lost texts and labels.
func TestBackup(t *testing.T) {
	made := disks(2, vg{seqno: 7, lvs: lv("x", 1, linear("pv0", 0), 1, linear("pv1", 5))})
	want, err := read(one(t, scan(t, made...)), "x")
	if err != nil {
		t.Fatal(err)
	}
	file := strings.Replace(vg{seqno: 7, pvs: []string{id('a'), id('b')}, lvs: lv("x", 1, linear("pv0", 0), 1, linear("pv1", 5))}.text(), "\n", "\n\t# comment\n\t", 40)
	backup, err := lvm.ParseBackup([]byte("# Generated\n" + file))
	if err != nil {
		t.Fatal(err)
	}
	clear(made[0][:dataAt])
	clear(made[1][areaAt:dataAt])
	imgs := images(made...)
	set, err := lvm.Scan(t.Context(), lvm.Options{Backup: backup, PVs: map[string]*disk.Disk{"pv0": imgs[0]}}, imgs[1])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(one(t, set), "x"); err != nil || !bytes.Equal(got, want) || len(set.Groups[0].Problems) > 0 {
		t.Errorf("%v, problems %v", err, set.Groups[0].Problems)
	}
	if _, err := set.Groups[0].OpenWritable(set.Groups[0].Volume("x")); err == nil || !strings.Contains(err.Error(), "nothing on pv0 confirms") {
		t.Errorf("it can be written: %v", err)
	}
	if _, err := lvm.Scan(t.Context(), lvm.Options{Backup: backup, PVs: map[string]*disk.Disk{"pv9": imgs[0]}}); err == nil {
		t.Error("there is a pv9")
	}
	// A backup older than the disk is used, with a warning.
	older, err := lvm.ParseBackup([]byte(strings.Replace(file, "seqno = 7", "seqno = 6", 1)))
	if err != nil {
		t.Fatal(err)
	}
	fresh := disks(2, vg{seqno: 7})
	set, err = lvm.Scan(t.Context(), lvm.Options{Backup: older}, images(fresh...)...)
	if err != nil || one(t, set).Seqno != 6 || !has(set.Groups[0].Problems, "(sequence number 7) is newer") {
		t.Errorf("%v, %d groups", err, len(set.Groups))
	}
}

// Groups that LVM refuses, or that would overflow 64-bit arithmetic.
func TestParseGroupRefuses(t *testing.T) {
	good := vg{pvs: []string{id('a')}, lvs: lv("x", 2, linear("pv0", 0), 3, linear("pv0", 2))}.text()
	if _, err := lvm.ParseGroup([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string][2]string{
		"contents":           {`contents = "Text`, `contents = "Other`},
		"no contents":        {"contents =", "content ="},
		"version":            {"version = 1", "version = 2"},
		"two groups":         {"contents =", "b { }\ncontents ="},
		"group name":         {"vg {", "v*g {"},
		"volume name":        {"x {", "-x {"},
		"dots":               {"x {", ".. {"},
		"path":               {"x {", "../x {"},
		"status of group":    {`"RESIZEABLE"`, `"RESIZABLE"`},
		"status of PV":       {`"ALLOCATABLE"`, `"ALLOC"`},
		"status of LV":       {`"VISIBLE"`, `"INVISIBLE"`},
		"no id":              {"id =", "idd ="},
		"float":              {"seqno = 1", "seqno = 1.0"},
		"string":             {"seqno = 1", `seqno = "1"`},
		"negative":           {"seqno = 1", "seqno = -1"},
		"no extents":         {"extent_size = 32", "extent_size = 0"},
		"huge extents":       {"extent_size = 32", "extent_size = 9223372036854775807"},
		"many extents":       {"pe_count = 28", "pe_count = 9223372036854775807"},
		"late extents":       {"pe_start = 128", "pe_start = 9223372036854775807"},
		"segment_count":      {"segment_count = 2", "segment_count = 3"},
		"gap":                {"start_extent = 2", "start_extent = 3"},
		"overlap":            {"start_extent = 2", "start_extent = 1"},
		"late begin":         {"start_extent = 0", "start_extent = 1"},
		"empty segment":      {"extent_count = 3", "extent_count = 0"},
		"huge segment":       {"extent_count = 3", "extent_count = 9223372036854775807"},
		"huge volume":        {"extent_count = 3", "extent_count = 281474976710655"},
		"stripe_count":       {"stripe_count = 1", "stripe_count = 2"},
		"no stripes":         {"stripes =", "strips ="},
		"odd stripes":        {`["pv0", 0]`, `["pv0", 0, "pv0"]`},
		"stripes of numbers": {`["pv0", 0]`, `[1, 0]`},
		"negative stripe":    {`["pv0", 0]`, `["pv0", -1]`},
		"no type":            {"type =", "typ ="},
		"PV twice":           {"logical_volumes {", "logical_volumes {"},
		"nested":             {"format =", strings.Repeat("a {", 40) + strings.Repeat("}", 40) + "format ="},
		"flags of PV":        {"flags = []\ndev_size", "flags = [1]\ndev_size"},
	} {
		in := strings.Replace(good, r[0], r[1], 1)
		if name == "PV twice" {
			in = vg{pvs: []string{id('a'), id('a')}}.text()
		}
		_, err := lvm.ParseGroup([]byte(in))
		if e, ok := errors.AsType[*text.Error](err); !ok || e.Line < 1 {
			t.Errorf("%s: %v, want an error with a line", name, err)
		}
	}
	// What LVM ignores is kept.
	odd := strings.Replace(good, "flags = []", "flags = [\"FUTURE\"]\nfuture = 7\nfuture = 8", 1)
	odd = strings.Replace(odd, "type = \"striped\"", "type = \"future+NEW\"", 1)
	g, err := lvm.ParseGroup([]byte(odd))
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := g.Section.Int("future"); n != 7 || g.Flags[0] != "FUTURE" || !has(g.Problems, "future was already set") {
		t.Errorf("future is %d, flags %q, problems %v", n, g.Flags, g.Problems)
	}
	if s := g.Volume("x").Segments[0]; s.Type != "future" || s.Flags[0] != "NEW" {
		t.Errorf("%+v", s)
	}
}

// Pools, their volumes and pending messages.
func TestThin(t *testing.T) {
	pool := "type = \"thin-pool+CROP_METADATA\"\nmetadata = \"m\"\npool = \"d\"\ntransaction_id = 5000000000\nchunk_size = 128\ndiscards = \"passdown\"\nzero_new_blocks = 1\n" +
		"message1 {\ncreate = \"t2\"\n}\nmessage2 {\ndelete = 9\n}"
	thin := "type = \"thin\"\nthin_pool = \"p\"\ntransaction_id = 3\ndevice_id = 16777215\norigin = \"o\"\nexternal_origin = \"e\"\nmerge = \"g\""
	in := vg{pvs: []string{id('a')}, lvs: lv("p", 2, pool) + lv("t", 9, thin)}.text()
	g, err := lvm.ParseGroup([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	p, v := g.Volume("p").ThinPool(), g.Volume("t").Thin()
	if p.Metadata != "m" || p.Data != "d" || p.TransactionID != 5000000000 || p.ChunkSize != 128 || p.Discards != "passdown" || !p.ZeroNewBlocks || !p.CropMetadata ||
		fmt.Sprint(p.Messages) != "[create t2 delete 9]" {
		t.Errorf("%+v", p)
	}
	if want := (lvm.Thin{Pool: "p", DeviceID: 16777215, TransactionID: 3, Origin: "o", ExternalOrigin: "e", Merge: "g"}); *v != want {
		t.Errorf("%+v, want %+v", *v, want)
	}
	for from, to := range map[string]string{"device_id = 16777215": "device_id = 16777216", "chunk_size = 128": "chunk_size = 100", "thin_pool = \"p\"": ""} {
		if _, err := lvm.ParseGroup([]byte(strings.Replace(in, from, to, 1))); err == nil {
			t.Errorf("%q: no error", to)
		}
	}
}

// Old texts stay in the ring until overwritten, and are found there.
func TestHistory(t *testing.T) {
	a := area{at: areaAt, size: 8192}
	disk := make([]byte, diskSize)
	text := func(seqno int) string {
		return vg{seqno: seqno, pvs: []string{id('a')}, lvs: lv(fmt.Sprintf("lv%d", seqno), 1, linear("pv0", 0))}.text()
	}
	sectors := uint64(len(text(1))+512) / 512 * 512
	at, want := uint64(512), map[uint64]uint64{}
	for seqno := range 9 {
		a.write(disk, at, text(seqno+1))
		want[at] = uint64(seqno + 1)
		for old := range want { // at least partly overwritten
			if d := (at + 15*512 - old) % (15 * 512); old != at && (d < sectors || 15*512-d < sectors) {
				delete(want, old)
			}
		}
		a.textAt, a.text = at, text(seqno+1)
		at = 512 + (at-512+sectors)%(15*512)
	}
	pv{id: id('a'), sector: 1, areas: []area{a}}.put(disk)
	set := scan(t, disk)
	got := map[uint64]uint64{}
	for old, err := range set.History(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[old.Offset] = old.Group.Seqno
		if old.Live != (old.Offset == a.textAt) || old.Group.Volume(fmt.Sprintf("lv%d", old.Group.Seqno)) == nil || old.Disk != set.Disks[0] {
			t.Errorf("%+v", old)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(want) < 3 || one(t, set).Seqno != 9 {
		t.Errorf("found %v, want %v", got, want)
	}
	// They are found even with a damaged header.
	clear(disk[areaAt : areaAt+512])
	n := 0
	for _, err := range scan(t, disk).History(t.Context()) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != len(want) {
		t.Errorf("%d texts without a header, want %d", n, len(want))
	}
}

// A ring full of things that look like texts cannot keep a search busy forever.
func TestHistoryHostile(t *testing.T) {
	const size = 24 << 20
	disk := make([]byte, 4096+size)
	pv{id: id('a'), sector: 1, areas: []area{{at: 4096, size: size}}}.put(disk)
	for at := 4096 + 512; at < len(disk); at += 512 {
		copy(disk[at:], "a {\nid = "+strings.Repeat(" ", 500))
	}
	n, failed := 0, false
	for _, err := range scan(t, disk).History(t.Context()) {
		n++
		failed = failed || err != nil && strings.Contains(err.Error(), "too much")
	}
	if n != 1 || !failed {
		t.Errorf("%d results, an error among them: %v", n, failed)
	}
}

func FuzzScan(f *testing.F) {
	made := disks(1, vg{lvs: lv("x", 2, linear("pv0", 0)) + lv("r", 2, raidKeys("raid5_ls", 32, "a", "b", "c"))})[0]
	f.Add(made[:1024], made[areaAt:areaAt+512], []byte(vg{pvs: []string{id('a')}, lvs: lv("x", 2, linear("pv0", 0))}.text()))
	f.Add(made[:1024], made[areaAt:areaAt+512], []byte(vg{pvs: []string{id('a')}, lvs: lv("x", 2, linear("y", 0)) + lv("y", 2, linear("x", 0))}.text()))
	f.Fuzz(func(t *testing.T, label, header, body []byte) {
		disk := make([]byte, 64<<10)
		copy(disk[:areaAt], label)
		copy(disk[areaAt+512:], body)
		copy(disk[areaAt:areaAt+512], header)
		for i := range 4 { // a fuzzer cannot guess CRCs
			b := disk[i*512:][:512]
			le.PutUint32(b[16:], crc(b[20:]))
		}
		h := disk[areaAt:][:512]
		const room = 64<<10 - areaAt
		if at, n := le.Uint64(h[40:]), le.Uint64(h[48:]); at < room && n <= room-at {
			le.PutUint32(h[56:], crc(disk[areaAt+at:][:n]))
		}
		le.PutUint32(h, crc(h[4:]))
		set := scan(t, disk)
		for _, g := range set.Groups {
			for _, v := range g.LVs {
				if r, err := g.Open(v, lvm.ReadOptions{}); err == nil {
					_, _ = r.ReadAt(make([]byte, 1000), max(0, v.Size-700))
				}
			}
		}
		for range set.History(t.Context()) {
		}
	})
}
