package lvm_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"thinpool/disk"
	"thinpool/lvm"
	"thinpool/metadata/block"
)

// scanFiles finds the only group in images.
func scanFiles(t *testing.T, imgs []*disk.Disk) *lvm.Group {
	t.Helper()
	set, err := lvm.Scan(t.Context(), lvm.Options{}, imgs...)
	if err != nil {
		t.Fatal(err)
	}
	return one(t, set)
}

// Written data is read back from every copy; nothing else on the disks changes.
func TestWrite(t *testing.T) {
	simple := func(lvs string) [][]byte { return disks(3, vg{lvs: lvs}) }
	for name, tc := range map[string]struct {
		made [][]byte
		legs int
	}{
		"linear":  {simple(lv("r", 3, linear("pv0", 5), 1, linear("pv2", 0))), 0},
		"striped": {simple(lv("r", 6, striped(8, "pv0", 10, "pv1", 3, "pv2", 7))), 0},
		"stacked": {simple(lvStatus("in", `"READ", "WRITE"`, 4, linear("pv0", 9)) + lv("r", 4, "type = \"raid0\"\nstripe_count = 2\nstripe_size = 16\nraid0_lvs = [\"in2\", \"in3\"]") +
			lvStatus("in2", `"READ", "WRITE"`, 2, linear("pv0", 9)) + lvStatus("in3", `"READ", "WRITE"`, 2, linear("pv1", 9))), 0},
		"mirror": {simple(lv("r", 2, mirrorKeys("pv0", 4, "pv1", 6))), 2},
		"raid1":  {raidDisks("raid1", 3, 2, 2, 0, nil, ""), 3},
		"raid10": {raidDisks("raid10", 5, 5, 2, 8, nil, ""), 2},
	} {
		t.Run(name, func(t *testing.T) {
			paths, imgs := files(t, tc.made...)
			g := scanFiles(t, imgs)
			w, err := g.OpenWritable(g.Volume("r"))
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, w.Size())
			for off := 0; off < len(want); off += block.Size { // make all copies equal
				if _, err := w.WriteAt(want[off:][:block.Size], int64(off)); err != nil {
					t.Fatal(err)
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				off := rapid.IntRange(0, len(want)-1).Draw(t, "off")
				p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(1, len(want)-off).Draw(t, "n"))
				if n, err := w.WriteAt(p, int64(off)); n != len(p) || err != nil {
					t.Fatalf("%d bytes, %v", n, err)
				}
				copy(want[off:], p)
				got := make([]byte, len(want))
				if _, err := w.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("not as written, %v", err)
				}
			})
			if err := w.Flush(); err != nil {
				t.Error(err)
			}
			if n, err := w.WriteAt([]byte{1, 2}, w.Size()-1); n != 0 || err == nil {
				t.Errorf("beyond the end: %d, %v", n, err)
			}
			for leg := range tc.legs {
				if got, err := readWith(g, "r", lvm.ReadOptions{Leg: leg + 1}); err != nil || !bytes.Equal(got, want) {
					t.Errorf("leg %d: %v", leg, err)
				}
			}
			changed := 0
			for i, path := range paths {
				now, err := os.ReadFile(path)
				if err != nil || len(now) != diskSize || !bytes.Equal(now[:dataAt], tc.made[i][:dataAt]) {
					t.Errorf("disk %d: something before the data has changed, %v", i, err)
				}
				for at := range now {
					if now[at] != tc.made[i][at] {
						changed++
					}
				}
			}
			if most := len(want) * max(tc.legs, 1); changed > most || changed < most/2 {
				t.Errorf("%d bytes have changed, want at most %d", changed, most)
			}
		})
	}
}

// A write that would not reach all copies, or would harm other volumes, is refused.
func TestWriteRefuses(t *testing.T) {
	in := vg{lvs: lv("r", 2, linear("pv0", 0)) + lv("on1", 1, linear("pv1", 0)) + lvStatus("ro", `"READ", "VISIBLE"`, 1, linear("pv0", 3)) +
		lv("m", 1, mirrorKeys("pv0", 4, "pv1", 4)) + lv("moving", 1, mirrorKeys("pv0", 4, "pv1", 4)+"\nextents_moved = 1") +
		lv("zero", 1, "type = \"zero\"") + lv("corig", 1, linear("pv0", 6)) + lv("c", 1, "type = \"cache\"\ncache_pool = \"x\"\norigin = \"corig\"") +
		lv("sorig", 1, linear("pv0", 7)) + lv("snap", 1, "type = \"snapshot\"\norigin = \"sorig\"\ncow_store = \"cow\"") + lv("cow", 1, linear("pv0", 8)) +
		lv("ext", 1, linear("pv0", 9)) + lv("meta", 1, linear("pv0", 10)) +
		lv("pool", 1, "type = \"thin-pool\"\nmetadata = \"meta\"\npool = \"meta\"\ntransaction_id = 0\nchunk_size = 128") +
		lv("thin", 1, "type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 1\nexternal_origin = \"ext\"")}
	made := disks(2, in)
	_, imgs := files(t, made...)
	g := scanFiles(t, imgs)
	refused := func(g *lvm.Group, name, want string) {
		t.Helper()
		if _, err := g.OpenWritable(g.Volume(name)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "vg/"+name+" cannot be written: ") {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for name, want := range map[string]string{
		"ro": "it is read-only", "moving": "being moved", "zero": "only [", "corig": "c depends on it", "c": "only [", "sorig": "snap depends on it", "cow": "snap depends on it",
		"snap": "only [", "ext": "thin depends on it", "thin": "only [",
	} {
		refused(g, name, want)
	}
	for _, name := range []string{"r", "m", "meta"} {
		if _, err := g.OpenWritable(g.Volume(name)); err != nil {
			t.Error(err)
		}
	}
	g = scanFiles(t, imgs[:1])
	refused(g, "m", "is missing")
	refused(g, "on1", "is missing")
	refused(one(t, scan(t, made...)), "r", block.ErrReadOnly.Error())
	older := disks(2, vg{seqno: 2, lvs: in.lvs})
	_, mixed := files(t, made[0], older[1])
	refused(scanFiles(t, mixed), "r", "pv0 has an older text")
	damaged := disks(2, in)
	damaged[1][areaAt+600]++ // its text may be newer
	_, imgs = files(t, damaged...)
	refused(scanFiles(t, imgs), "r", "pv1 has a text that cannot be read")
	for kind, want := range map[string]string{"raid5_ls": "only [", "raid1": "not all of its images are in sync"} {
		set := raidDisks(kind, 3, 2, 2, 8, nil, "")
		super{events: 4}.put(onDisk(set[1], 0, 1), 1, 3)
		_, imgs := files(t, set...)
		refused(scanFiles(t, imgs), "r", want)
		refused(scanFiles(t, imgs), "r_rimage_0", "r depends on it")
	}
}

// Failed writes and flushes return errors.
func TestWriteFails(t *testing.T) {
	_, imgs := files(t, disks(1, vg{lvs: lv("r", 2, linear("pv0", 0))})...)
	g := scanFiles(t, imgs)
	w, err := g.OpenWritable(g.Volume("r"))
	if err != nil {
		t.Fatal(err)
	}
	var dev block.Device = w
	imgs[0].Close()
	if err := block.Write(dev, 0, new(block.Data)); !errors.Is(err, os.ErrClosed) || !strings.HasPrefix(err.Error(), "vg/r, byte 0: ") {
		t.Errorf("a write to a closed file: %v", err)
	}
	if err := dev.Flush(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a flush of a closed file: %v", err)
	}
}

// Readers do not modify images, even those opened for writing.
func TestReadersDoNotWrite(t *testing.T) {
	made := raidDisks("raid5_ls", 3, 2, 2, 8, nil, "")
	paths, imgs := files(t, made...)
	g := scanFiles(t, imgs)
	for _, v := range g.LVs {
		if _, err := read(g, v.Name); err != nil {
			t.Error(err)
		}
	}
	for i, path := range paths {
		if p, err := os.ReadFile(path); err != nil || !bytes.Equal(p, made[i]) {
			t.Errorf("disk %d has changed, %v", i, err)
		}
	}
}
