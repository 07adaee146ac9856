package lvm_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"thinpool/lvm"
	"thinpool/metadata/block"
)

// read reads a whole volume.
func read(g *lvm.Group, name string) ([]byte, error) { return readWith(g, name, lvm.ReadOptions{}) }

func readWith(g *lvm.Group, name string, opt lvm.ReadOptions) ([]byte, error) {
	r, err := g.Open(g.Volume(name), opt)
	if err != nil {
		return nil, err
	}
	p := make([]byte, r.Size())
	_, err = io.ReadFull(io.NewSectionReader(r, 0, r.Size()), p)
	return p, err
}

// striped returns the keys of a striped segment; stripe is in sectors.
func striped(stripe int, names ...any) string {
	var list []string
	for i := 0; i < len(names); i += 2 {
		list = append(list, fmt.Sprintf("%q, %d", names[i], names[i+1]))
	}
	return fmt.Sprintf("type = \"striped\"\nstripe_count = %d\nstripe_size = %d\nstripes = [%s]", len(list), stripe, strings.Join(list, ", "))
}

// mirrorKeys returns the keys of a mirror.
func mirrorKeys(names ...any) string {
	s := strings.NewReplacer("striped", "mirror", "stripe_count", "mirror_count", "stripes", "mirrors").Replace(striped(1, names...))
	return strings.Replace(s, "stripe_size = 1\n", "", 1)
}

// raidKeys returns the keys of a RAID segment; stripe is in sectors.
func raidKeys(kind string, stripe int, names ...string) string {
	var list []string
	for _, n := range names {
		list = append(list, fmt.Sprintf("%q, %q", strings.Replace(n, "_rimage_", "_rmeta_", 1), n))
	}
	return fmt.Sprintf("type = %q\ndevice_count = %d\nstripe_size = %d\nregion_size = 64\nraids = [%s]", kind, len(names), stripe, strings.Join(list, ", "))
}

// onDisk returns the content of n extents of a disk.
func onDisk(disk []byte, first, n int) []byte { return disk[dataAt+first*extent:][:n*extent] }

// Segments, stripes and stacked volumes read byte for byte as expected.
func TestRead(t *testing.T) {
	in := vg{lvs: lv("linear", 3, linear("pv0", 5), 1, linear("pv2", 0), 2, linear("pv0", 1)) +
		lv("striped", 6, striped(8, "pv0", 10, "pv1", 3, "pv2", 7), 2, striped(16, "pv2", 20, "pv1", 9)) +
		lv("raid0", 3, "type = \"raid0\"\nstripe_count = 3\nstripe_size = 16\nraid0_lvs = [\"i0\", \"i1\", \"i2\"]") +
		lvStatus("i0", `"READ", "WRITE"`, 1, linear("pv2", 12)) + lvStatus("i1", `"READ", "WRITE"`, 1, linear("pv1", 12)) + lvStatus("i2", `"READ", "WRITE"`, 1, linear("pv0", 12)) +
		lv("stacked", 4, linear("linear", 1)) +
		lv("zero", 1, "type = \"zero\"", 1, linear("pv0", 0)) +
		lv("pv9", 1, linear("linear", 4))}
	made := disks(3, in)
	g := one(t, scan(t, made...))
	deal := func(chunk int, parts ...[]byte) []byte {
		var out []byte
		for len(parts[0]) > 0 {
			for i := range parts {
				out, parts[i] = append(out, parts[i][:chunk]...), parts[i][chunk:]
			}
		}
		return out
	}
	linearWant := slices.Concat(onDisk(made[0], 5, 3), onDisk(made[2], 0, 1), onDisk(made[0], 1, 2))
	for name, want := range map[string][]byte{
		"linear": linearWant,
		"striped": slices.Concat(deal(4096, onDisk(made[0], 10, 2), onDisk(made[1], 3, 2), onDisk(made[2], 7, 2)),
			deal(8192, onDisk(made[2], 20, 1), onDisk(made[1], 9, 1))),
		"raid0":   deal(8192, onDisk(made[2], 12, 1), onDisk(made[1], 12, 1), onDisk(made[0], 12, 1)),
		"stacked": linearWant[extent : 5*extent],
		"zero":    append(make([]byte, extent), onDisk(made[0], 0, 1)...),
		"pv9":     linearWant[4*extent : 5*extent],
	} {
		got, err := read(g, name)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: differs, %v", name, err)
			continue
		}
		r, err := g.Open(g.Volume(name), lvm.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		for range 200 {
			off, n := rnd.IntN(len(want)+10), rnd.IntN(3*extent)
			p := make([]byte, n)
			m, err := r.ReadAt(p, int64(off))
			end := min(off+n, len(want))
			if m != max(0, end-off) || !bytes.Equal(p[:m], want[min(off, end):end]) || (err == io.EOF) != (off+n > len(want) || off == len(want)) || err != nil && err != io.EOF {
				t.Fatalf("%s: %d bytes at %d: %d are read, %v", name, n, off, m, err)
			}
		}
		if n, err := r.ReadAt(make([]byte, 1), -1); n != 0 || err == nil {
			t.Errorf("%s: %d bytes at -1, %v", name, n, err)
		}
	}
}

// A volume is a read-only block device.
func TestDevice(t *testing.T) {
	g := one(t, scan(t, disks(2, vg{lvs: lv("x", 4, striped(8, "pv0", 0, "pv1", 2))})...))
	r, err := g.Open(g.Volume("x"), lvm.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := read(g, "x")
	if err != nil {
		t.Fatal(err)
	}
	dev := r.Device()
	if dev.Size() != 4*extent || block.Blocks(dev) != 16 {
		t.Errorf("%d bytes", dev.Size())
	}
	n := 0
	all := func(yield func(block.Nr) bool) {
		for nr := block.Nr(0); nr < 16 && yield(nr); nr++ {
		}
	}
	err = block.NewReader(dev, 1).Each(t.Context(), all, func(_ int, nr block.Nr, b *block.Data, err error) error {
		if n++; !bytes.Equal(b[:], want[nr*block.Size:][:block.Size]) {
			t.Errorf("block %d differs", nr)
		}
		return err
	})
	if err != nil || n != 16 {
		t.Errorf("%d blocks, %v", n, err)
	}
	if err := block.Write(dev, 0, new(block.Data)); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("a write: %v", err)
	}
	if err := errors.Join(dev.Flush(), dev.Close()); err != nil {
		t.Error(err)
	}
}

// Volumes without data of their own, or with data elsewhere, are refused with a reason.
func TestReadRefuses(t *testing.T) {
	chain := ""
	for i := range 20 {
		chain += lv(fmt.Sprintf("deep%d", i), 1, linear(fmt.Sprintf("deep%d", i+1), 0))
	}
	legs := ""
	for i := range 4 {
		legs += lv(fmt.Sprintf("m%d", i), 1, mirrorKeys(fmt.Sprintf("m%d", i+1), 0, fmt.Sprintf("m%d", i+1), 0))
	}
	fanOut := ""
	for i := range 15 {
		next := fmt.Sprintf("wide%d", i+1)
		fanOut += lv(fmt.Sprintf("wide%d", i), 2, linear(next, 0), 2, linear(next, 0))
	}
	g := one(t, scan(t, disks(1, vg{lvs: lv("self", 1, linear("self", 0)) +
		lv("a", 1, linear("b", 0)) + lv("b", 1, linear("a", 0)) + chain + lv("deep20", 1, linear("pv0", 0)) +
		legs + lv("m4", 1, linear("pv0", 0)) + fanOut + lv("wide15", 1<<20, "type = \"zero\"") +
		lv("nowhere", 1, linear("gone", 0)) + lv("beyond", 2, linear("pv0", diskPEs-1)) + lv("outside", 1, linear("m4", 1)) +
		lv("far", 1, linear("pv0", 1<<62)) +
		lv("flag", 1, strings.Replace(linear("pv0", 0), "striped", "striped+NEW", 1)) +
		lv("reshape", 1, strings.Replace(linear("pv0", 0), "striped", "striped+RESHAPE", 1)) +
		lv("offset", 1, linear("pv0", 0)+"\ndata_offset = 8") +
		lv("future", 1, "type = \"future\"") + lv("vdo", 1, "type = \"vdo\"\nvdo_pool = \"x\"") + lv("tiered", 1, "type = \"tier-thin-pool\"") + lv("thick", 1, "type = \"thick\"") + lv("snap", 1, "type = \"snapshot\"\norigin = \"m4\"") +
		lv("pool", 1, "type = \"thin-pool\"\nmetadata = \"m4\"\npool = \"m4\"\ntransaction_id = 0\nchunk_size = 128") +
		lv("thin", 1, "type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 1") +
		lv("cpool", 1, "type = \"cache-pool\"\ndata = \"m4\"\nmetadata = \"m4\"\ncache_mode = \"writethrough\"") +
		lv("wpool", 1, "type = \"cache-pool\"\ndata = \"m4\"\nmetadata = \"m4\"\ncache_mode = \"writeback\"") +
		lv("through", 1, "type = \"cache+METADATA_FORMAT\"\ncache_pool = \"cpool\"\norigin = \"m4\"") +
		lv("back", 1, "type = \"cache\"\ncache_pool = \"wpool\"\norigin = \"m4\"") +
		lv("vol", 1, "type = \"cache+CACHE_USES_CACHEVOL\"\ncache_pool = \"m4\"\norigin = \"m4\"\ncache_mode = \"writeback\"") +
		lv("unset", 1, "type = \"cache\"\ncache_pool = \"m4\"\norigin = \"m4\"") +
		lv("wcache", 1, "type = \"writecache\"\nwritecache = \"cpool\"\norigin = \"m4\"") +
		lv("integrity", 1, "type = \"integrity\"\nmeta_dev = \"cpool\"\norigin = \"m4\"\nmode = \"J\"") +
		lv("crypt", 1, "type = \"crypt\"") +
		lv("zerostripe", 2, striped(0, "pv0", 0, "pv0", 1)) +
		lv("raid5", 2, raidKeys("raid5_xx", 32, "m4_rimage_0", "m4_rimage_1", "m4_rimage_2")) +
		lv("nometa", 2, raidKeys("raid1", 0, "m4_rimage_0", "m4_rimage_0"))})...))
	for name, want := range map[string]string{
		"self": "it is stacked on itself", "a": "it is stacked on itself", "deep0": "more than 16 volumes", "m0": "too many volumes",
		"nowhere": `it uses "gone", which does not exist`, "beyond": "needs extents 27..29 of pv0, which has 28", "outside": "needs extents 1..2 of m4", "far": "which has 28",
		"flag": "unknown flag NEW", "reshape": "a reshape is in progress", "offset": "a reshape is or was",
		"future": "segment type future: it is not known", "vdo": "segment type vdo: VDO", "tiered": "QNAP's own kind of pool", "thick": "QNAP's own kind of volume", "snap": "classic copy-on-write", "pool": "no content of its own", "thin": "through its pool",
		"cpool": "a cache pool", "back": "dm-cache in writeback mode: the origin, m4, may be stale", "vol": "writeback", "unset": "unknown mode",
		"wcache": "writecache: the origin", "integrity": "integrity: the origin", "crypt": "encrypted", "zerostripe": "chunks of 0 bytes", "raid5": "layout raid5_xx", "nometa": "m4_rimage_0",
	} {
		_, err := g.Open(g.Volume(name), lvm.ReadOptions{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "vg/"+name+": ") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	want, err := read(g, "m4")
	if err != nil {
		t.Fatal(err)
	}
	for name, stale := range map[string]bool{"through": false, "back": true, "vol": true, "wcache": true, "integrity": true} {
		if got, err := readWith(g, name, lvm.ReadOptions{StaleOrigin: stale}); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Two volumes below each, fifteen levels deep: each is built once, and reads are fast.
	r, err := g.Open(g.Volume("wide0"), lvm.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadAt(make([]byte, 100), 3*extent); n != 100 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// Reading from a missing disk gives an error with the position; everything else is read.
func TestMissing(t *testing.T) {
	made := disks(2, vg{lvs: lv("t1", 3, linear("pv0", 0), 2, linear("pv1", 0)) + lv("s", 2, striped(8, "pv0", 5, "pv1", 5)) + lv("e", 1, linear("pv0", 0), 1, "type = \"error\"") +
		lv("pool", 1, "type = \"thin-pool\"\nmetadata = \"e\"\npool = \"t1\"\ntransaction_id = 0\nchunk_size = 128") +
		lv("thin", 1, "type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 1\norigin = \"thin\"")})
	g := one(t, scan(t, made[0]))
	for name, from := range map[string]int{"t1": 3 * extent, "s": 4096} {
		r, err := g.Open(g.Volume(name), lvm.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, r.Size())
		n, err := r.ReadAt(p, 0)
		want := fmt.Sprintf("pv1 (%s) is missing: vg/%s needs it from byte %d on", dashed(id('b')), name, from)
		missing, ok := errors.AsType[*lvm.MissingError](err)
		if !ok || missing.PV != g.PV("pv1") || err.Error() != want || n != from || bytes.Count(p[:n], []byte("disk 0")) != n/16 {
			t.Errorf("%s: %d bytes, %v, want %s", name, n, err, want)
		}
	}
	for name, want := range map[string]int{"t1": 1, "s": 1, "e": 0, "thin": 1} {
		if lacks := g.Lacks(g.Volume(name)); len(lacks) != want || want > 0 && lacks[0] != g.PV("pv1") {
			t.Errorf("%s lacks %v", name, lacks)
		}
	}
	r, err := g.Open(g.Volume("e"), lvm.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadAt(make([]byte, 2*extent), 0); n != extent || err == nil || !strings.Contains(err.Error(), "byte 16384: a segment of type error") {
		t.Errorf("%d bytes, %v", n, err)
	}
	short := one(t, scan(t, made[0], made[1][:dataAt+extent+1000]))
	r, err = short.Open(short.Volume("t1"), lvm.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.ReadAt(make([]byte, 5*extent), 0); n != 4*extent+512 || err == nil || !strings.Contains(err.Error(), "disk1: ") || !strings.Contains(err.Error(), "too short") {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// super creates a superblock of a RAID set.
type super struct {
	none             bool // never activated
	events           uint64
	failed           uint64
	recovery, resync uint64 // what remains to be done: 0 means done
	position         int    // one more than the position; 0 means the right one
}

func (s super) put(p []byte, i, devices int) {
	clear(p[:512])
	if s.none {
		return
	}
	copy(p, "DmRd")
	le.PutUint32(p[8:], uint32(devices))
	le.PutUint32(p[12:], uint32(i))
	if s.position > 0 {
		le.PutUint32(p[12:], uint32(s.position-1))
	}
	le.PutUint64(p[16:], s.events)
	le.PutUint64(p[24:], s.failed)
	le.PutUint64(p[32:], s.recovery-1)
	le.PutUint64(p[40:], s.resync-1)
}

// raidDisks creates a set with each image on a disk of its own, after its superblock. Images have
// imageExtents extents.
func raidDisks(kind string, devices, extents, imageExtents, stripe int, status map[int]string, keys string) [][]byte {
	var names []string
	text := ""
	for i := range devices {
		name := fmt.Sprintf("r_rimage_%d", i)
		names = append(names, name)
		st := `"READ", "WRITE"`
		if status[i] != "" {
			st += ", \"" + status[i] + "\""
		}
		text += lvStatus(name, st, imageExtents, linear(fmt.Sprintf("pv%d", i), 2)) +
			lvStatus(fmt.Sprintf("r_rmeta_%d", i), `"READ", "WRITE"`, 1, linear(fmt.Sprintf("pv%d", i), 0))
	}
	made := disks(devices, vg{lvs: lv("r", extents, raidKeys(kind, stripe, names...)+keys) + text})
	for i := range made {
		super{events: 5}.put(onDisk(made[i], 0, 1), i, devices)
	}
	return made
}

// Among several copies, one is read that is in sync according to LVM and the superblocks.
func TestLegs(t *testing.T) {
	for name, tc := range map[string]struct {
		supers [3]super
		status map[int]string
		gone   []int
		want   int // leg; -1: none
	}{
		"all good":        {supers: [3]super{{events: 5}, {events: 5}, {events: 5}}, want: 0},
		"first gone":      {supers: [3]super{{events: 5}, {events: 5}, {events: 5}}, gone: []int{0}, want: 1},
		"two gone":        {supers: [3]super{{events: 5}, {events: 5}, {events: 5}}, gone: []int{0, 1}, want: 2},
		"all gone":        {supers: [3]super{{events: 5}, {events: 5}, {events: 5}}, gone: []int{0, 1, 2}, want: -1},
		"older":           {supers: [3]super{{events: 4}, {events: 5}, {events: 5}}, want: 1},
		"failed":          {supers: [3]super{{events: 5}, {events: 5, failed: 1}, {events: 5}}, want: 0},
		"failed, fresh":   {supers: [3]super{{events: 5}, {events: 6, failed: 1}, {events: 6, failed: 1}}, want: 1},
		"says others do":  {supers: [3]super{{events: 4, failed: 6}, {events: 6, failed: 1}, {events: 6, failed: 1}}, want: 1},
		"rebuilding":      {supers: [3]super{{events: 5, recovery: 100}, {events: 5}, {events: 5}}, want: 1},
		"no superblock":   {supers: [3]super{{none: true}, {events: 5}, {events: 5}}, want: 1},
		"never active":    {supers: [3]super{{none: true}, {none: true}, {none: true}}, want: 0},
		"other position":  {supers: [3]super{{events: 5, position: 3}, {events: 5}, {events: 5}}, want: 1},
		"REBUILD":         {supers: [3]super{{events: 5}, {events: 5}, {events: 5}}, status: map[int]string{0: "REBUILD"}, want: 1},
		"NOTSYNCED":       {supers: [3]super{{none: true}, {none: true}, {none: true}}, status: map[int]string{0: "NOTSYNCED"}, want: 1},
		"WRITEMOSTLY":     {supers: [3]super{{events: 5}, {events: 5}, {events: 5}}, status: map[int]string{0: "WRITEMOSTLY"}, want: 1},
		"only mostly":     {supers: [3]super{{events: 5}, {events: 4}, {events: 5}}, status: map[int]string{0: "WRITEMOSTLY"}, gone: []int{2}, want: 0},
		"none in sync":    {supers: [3]super{{events: 5, failed: 7}, {events: 4}, {events: 4}}, want: -1},
		"initial resync":  {supers: [3]super{{events: 5, resync: 9}, {events: 5, resync: 9}, {events: 5, resync: 9}}, want: 0},
		"fresh is absent": {supers: [3]super{{events: 4}, {events: 6, failed: 1}, {events: 4}}, gone: []int{1}, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			made := raidDisks("raid1", 3, 2, 2, 0, tc.status, "")
			text := string(one(t, scan(t, made...)).Text)
			for i, s := range tc.supers {
				s.put(onDisk(made[i], 0, 1), i, 3)
			}
			legs := [][]byte{onDisk(made[0], 2, 2), onDisk(made[1], 2, 2), onDisk(made[2], 2, 2)}
			for _, i := range tc.gone {
				made[i] = nil
			}
			if len(tc.gone) == 3 { // the text is on a disk outside the set
				made = [][]byte{oneDisk(pv{id: id('z'), sector: 1, areas: []area{{at: areaAt, size: areaLen, text: text}}})}
			}
			g := one(t, scan(t, made...))
			got, err := read(g, "r")
			if tc.want < 0 {
				if err == nil || !strings.Contains(err.Error(), "vg/r") {
					t.Errorf("it is read: %v", err)
				}
			} else if err != nil || !bytes.Equal(got, legs[tc.want]) {
				t.Errorf("leg %d is not read, %v", tc.want, err)
			}
			// A selected leg is read, whatever its state.
			for i := range 3 {
				got, err := readWith(g, "r", lvm.ReadOptions{Leg: i + 1})
				if gone := slices.Contains(tc.gone, i); gone != (err != nil) || !gone && !bytes.Equal(got, legs[i]) {
					t.Errorf("leg %d: %v", i, err)
				}
			}
		})
	}
}

// In a mirror, the first leg is authoritative. While extents are moved, it is the only one.
func TestMirror(t *testing.T) {
	made := disks(2, vg{lvs: lv("m", 2, mirrorKeys("pv0", 4, "pv1", 4)) + lv("moving", 2, mirrorKeys("pv0", 4, "pv1", 4)+"\nextents_moved = 1")})
	g := one(t, scan(t, made...))
	for _, name := range []string{"m", "moving"} {
		if got, err := read(g, name); err != nil || !bytes.Equal(got, onDisk(made[0], 4, 2)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := readWith(g, "m", lvm.ReadOptions{Leg: 2}); err != nil || !bytes.Equal(got, onDisk(made[1], 4, 2)) {
		t.Errorf("leg 2: %v", err)
	}
	g = one(t, scan(t, made[1]))
	if got, err := read(g, "m"); err != nil || !bytes.Equal(got, onDisk(made[1], 4, 2)) {
		t.Errorf("the other leg: %v", err)
	}
	if _, err := read(g, "moving"); err == nil {
		t.Error("a leg to which extents are being moved is read")
	}
}

// fill writes content to the images of a left-symmetric RAID-5, chunk by chunk.
func fill(made [][]byte, content []byte, chunk, imageExtents int) {
	n := len(made)
	for row := 0; len(content) > 0; row++ {
		parity := onDisk(made[(n-1-row%n)], 2, imageExtents)[row*chunk:][:chunk]
		clear(parity)
		for i := range n - 1 {
			image := onDisk(made[(n-1-row%n+1+i)%n], 2, imageExtents)[row*chunk:][:chunk]
			copy(image, content)
			content = content[chunk:]
			for j := range chunk {
				parity[j] ^= image[j]
			}
		}
	}
}

// The content of one device of a parity set is computed from the others, unless parity cannot be
// trusted.
func TestParity(t *testing.T) {
	content := make([]byte, 8*extent)
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range content {
		content[i] = byte(rnd.Uint32())
	}
	fresh := func() [][]byte {
		made := raidDisks("raid5_ls", 5, 8, 2, 8, nil, "")
		fill(made, content, 4096, 2)
		return made
	}
	good := func(t *testing.T, made [][]byte) {
		t.Helper()
		if got, err := read(one(t, scan(t, made...)), "r"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%v", err)
		}
	}
	good(t, fresh())
	for i := range 5 {
		made := fresh()
		made[i] = nil
		good(t, made)
		made = fresh()
		made[i] = made[i][:dataAt+3*extent+5000] // ends within the image
		good(t, made)
		made = fresh()
		super{events: 3}.put(onDisk(made[i], 0, 1), i, 5) // was away and has other content
		clear(onDisk(made[i], 2, 2))
		good(t, made)
		made = fresh()
		made[i], made[(i+1)%5] = nil, nil
		_, err := read(one(t, scan(t, made...)), "r")
		if _, ok := errors.AsType[*lvm.MissingError](err); !ok || !strings.Contains(err.Error(), "vg/r, byte ") || !strings.Contains(err.Error(), "cannot be computed") {
			t.Errorf("two missing: %v", err)
		}
	}
	for name, s := range map[string]super{"not in sync": {events: 5, resync: 100}, "never active": {none: true}} {
		made := fresh()
		for i := range made {
			s.put(onDisk(made[i], 0, 1), i, 5)
		}
		good(t, made)
		made[2] = nil
		if _, err := read(one(t, scan(t, made...)), "r"); err == nil || !strings.Contains(err.Error(), name[:5]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A raid10 set has several copies of each chunk. It is readable where at least one is left.
func TestRaid10(t *testing.T) {
	for _, tc := range []struct{ devices, copies, extents int }{{4, 2, 4}, {5, 2, 5}, {3, 3, 2}} {
		keys := ""
		if tc.copies != 2 {
			keys = fmt.Sprintf("\ndata_copies = %d", tc.copies)
		}
		made := raidDisks("raid10", tc.devices, tc.extents, 2, 8, nil, keys)
		content := make([]byte, tc.extents*extent)
		next := make([]int, tc.devices)
		dealt := 0
		for chunk := range len(content) / 4096 {
			p := content[chunk*4096:][:4096]
			for i := 0; i < len(p); i += 16 {
				copy(p[i:], fmt.Sprintf("raid10 %08d", chunk*4096+i))
			}
			for range tc.copies {
				d := dealt % tc.devices
				copy(onDisk(made[d], 2, 2)[next[d]:], p)
				next[d] += 4096
				dealt++
			}
		}
		for i := -1; i < tc.devices; i++ {
			left := slices.Clone(made)
			if i >= 0 {
				left[i] = nil
			}
			g := one(t, scan(t, left...))
			if got, err := read(g, "r"); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%+v without %d: %v", tc, i, err)
			}
			if i < 0 {
				for leg := range tc.copies {
					if got, err := readWith(g, "r", lvm.ReadOptions{Leg: leg + 1}); err != nil || !bytes.Equal(got, content) {
						t.Errorf("%+v, copy %d: %v", tc, leg, err)
					}
				}
			}
		}
	}
}
