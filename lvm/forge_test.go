package lvm_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/lvm"
)

var le = binary.LittleEndian

// crc computes LVM's CRC bit by bit.
func crc(p []byte) uint32 {
	r := uint32(0xf597a6cf)
	for _, c := range p {
		r ^= uint32(c)
		for range 8 {
			r = r>>1 ^ 0xedb88320*(r&1)
		}
	}
	return r
}

// The usual layout: one area after the label, data from 64 KiB on. Extents are small.
const (
	areaAt   = 4096
	areaLen  = 60 << 10
	dataAt   = 64 << 10
	extent   = 16 << 10
	diskSize = 512 << 10
	diskPEs  = (diskSize - dataAt) / extent
)

// A pv is a physical volume to create.
type pv struct {
	id     string // 32 characters
	sector int    // of the label
	areas  []area
	boot   [][2]uint64
	noExt  bool
}

// An area is a metadata area to create.
type area struct {
	at, size  uint64
	ignored   bool
	slot1     bool
	textAt    uint64 // 512 if 0
	text      string // without NUL; none if empty
	spoil     func(header []byte)
	spoilText bool
}

// id repeats a letter to make an id.
func id(c byte) string { return strings.Repeat(string(c), 32) }

func dashed(id string) string {
	return strings.Join([]string{id[:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:]}, "-")
}

// put writes the physical volume to the start of disk.
func (v pv) put(disk []byte) {
	b := disk[v.sector*512:][:512]
	copy(b, "LABELONE")
	le.PutUint64(b[8:], uint64(v.sector))
	le.PutUint32(b[20:], 32)
	copy(b[24:], "LVM2 001"+v.id)
	le.PutUint64(b[64:], uint64(len(disk)))
	at := 72
	list := func(areas ...[2]uint64) {
		for _, a := range append(areas, [2]uint64{}) {
			le.PutUint64(b[at:], a[0])
			le.PutUint64(b[at+8:], a[1])
			at += 16
		}
	}
	list([2]uint64{dataAt})
	var areas [][2]uint64
	for _, a := range v.areas {
		areas = append(areas, [2]uint64{a.at, a.size})
		a.put(disk)
	}
	list(areas...)
	if !v.noExt {
		le.PutUint32(b[at:], 2)
		le.PutUint32(b[at+4:], 1)
		at += 8
		list(v.boot...)
	}
	le.PutUint32(b[16:], crc(b[20:]))
}

func (a area) put(disk []byte) {
	h := disk[a.at:][:512]
	copy(h[4:], " LVM2 x[5A%r0N*>")
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], a.at)
	le.PutUint64(h[32:], a.size)
	if a.text != "" {
		at := max(a.textAt, 512)
		a.write(disk, at, a.text)
		le.PutUint64(h[40:], at)
		le.PutUint64(h[48:], uint64(len(a.text)+1))
		le.PutUint32(h[56:], crc([]byte(a.text+"\x00")))
		if a.spoilText {
			disk[a.at+at+3]++
		}
	}
	if a.ignored {
		le.PutUint32(h[60:], 1)
	}
	if a.slot1 {
		le.PutUint64(h[64:], 1024)
	}
	if a.spoil != nil {
		a.spoil(h)
	}
	le.PutUint32(h, crc(h[4:]))
}

// write writes a text into the ring.
func (a area) write(disk []byte, at uint64, text string) {
	ring := disk[a.at:][:a.size]
	n := copy(ring[at:], text+"\x00")
	copy(ring[512:], (text + "\x00")[n:])
}

// A vg is a text to create.
type vg struct {
	name  string // "vg" if empty
	id    byte   // 'V' if 0
	seqno int    // 1 if 0
	pvs   []string
	extra string // keys of the group
	lvs   string
}

func (g vg) text() string {
	name, c, seqno := g.name, g.id, max(g.seqno, 1)
	if name == "" {
		name = "vg"
	}
	if c == 0 {
		c = 'V'
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s {\nid = \"%s\"\nseqno = %d\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\nextent_size = %d\n%s\n",
		name, dashed(id(c)), seqno, extent/512, g.extra)
	b.WriteString("physical_volumes {\n")
	for i, p := range g.pvs {
		fmt.Fprintf(&b, "pv%d {\nid = \"%s\"\ndevice = \"/dev/sd%c\"\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = %d\npe_start = %d\npe_count = %d\n}\n",
			i, dashed(p), 'a'+i, diskSize/512, dataAt/512, diskPEs)
	}
	fmt.Fprintf(&b, "}\nlogical_volumes {\n%s}\n}\n# made by a test\ncontents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"a \\\"test\\\"\"\ncreation_host = \"here\"\ncreation_time = 1700000000\n", g.lvs)
	return b.String()
}

// lv returns the text of a volume. Each segment is a number of extents and its keys.
func lv(name string, segments ...any) string {
	return lvStatus(name, `"READ", "WRITE", "VISIBLE"`, segments...)
}

func lvStatus(name, status string, segments ...any) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s {\nid = \"%s\"\nstatus = [%s]\nflags = []\nsegment_count = %d\n", name, dashed(id('L')), status, len(segments)/2)
	start := 0
	for i := 0; i < len(segments); i += 2 {
		fmt.Fprintf(&b, "segment%d {\nstart_extent = %d\nextent_count = %d\n%s\n}\n", i/2+1, start, segments[i], segments[i+1])
		start += segments[i].(int)
	}
	return b.String() + "}\n"
}

// linear returns the keys of a segment that starts at an extent of a volume.
func linear(name string, first int64) string {
	return fmt.Sprintf("type = \"striped\"\nstripe_count = 1\nstripes = [\"%s\", %d]", name, first)
}

// disks creates physical volumes pv0, pv1, ... with the text of g. Each is filled with different
// data.
func disks(n int, g vg) [][]byte {
	g.pvs = nil
	for i := range n {
		g.pvs = append(g.pvs, id('a'+byte(i)))
	}
	made := make([][]byte, n)
	for i, p := range g.pvs {
		made[i] = make([]byte, diskSize)
		for at := dataAt; at < diskSize; at += 16 {
			copy(made[i][at:], fmt.Sprintf("disk %d %08x\n", i, at))
		}
		pv{id: p, sector: 1, areas: []area{{at: areaAt, size: areaLen, text: g.text()}}}.put(made[i])
	}
	return made
}

// images opens disks as images and skips nil.
func images(disks ...[]byte) []*disk.Disk {
	var imgs []*disk.Disk
	for i, d := range disks {
		if d != nil {
			imgs = append(imgs, disk.New(fmt.Sprintf("disk%d", i), bytes.NewReader(d), int64(len(d))))
		}
	}
	return imgs
}

func scan(t testing.TB, disks ...[]byte) *lvm.Set {
	t.Helper()
	set, err := lvm.Scan(t.Context(), lvm.Options{}, images(disks...)...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// one returns the only group of a set.
func one(t testing.TB, set *lvm.Set) *lvm.Group {
	t.Helper()
	if len(set.Groups) != 1 {
		t.Fatalf("%d groups, problems %v", len(set.Groups), set.Problems)
	}
	return set.Groups[0]
}

// files writes disks to files and opens them for writing.
func files(t *testing.T, disks ...[]byte) (paths []string, imgs []*disk.Disk) {
	t.Helper()
	dir := t.TempDir()
	for i, d := range disks {
		path := filepath.Join(dir, fmt.Sprintf("disk%d", i))
		if err := os.WriteFile(path, d, 0o600); err != nil {
			t.Fatal(err)
		}
		img, err := disk.Open(path, disk.Options{Claim: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := img.OpenForWriting(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		paths, imgs = append(paths, path), append(imgs, img)
	}
	return paths, imgs
}

// has reports whether one of the problems contains a text.
func has(problems []lvm.Problem, text string) bool {
	for _, p := range problems {
		if strings.Contains(p.Text, text) {
			return true
		}
	}
	return false
}
