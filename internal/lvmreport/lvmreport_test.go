package lvmreport_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/internal/lvmreport"
	"thinpool/lvm"
)

// Position of the metadata area in the fixtures, and offsets in its header.
const (
	areaOffset = 4096
	offMagic   = 4
	offSlot    = 40
	offFlags   = offSlot + 20
)

func crc(p []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, p) }

// change changes bytes of a file.
func change(t *testing.T, path string, off int64, n int, edit func([]byte)) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, n)
	if _, err = f.ReadAt(p, off); err == nil {
		edit(p)
		_, err = f.WriteAt(p, off)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// changeHeader changes the header of the metadata area and updates its CRC.
func changeHeader(t *testing.T, path string, edit func([]byte)) {
	t.Helper()
	change(t, path, areaOffset, 512, func(p []byte) {
		edit(p)
		binary.LittleEndian.PutUint32(p, crc(p[offMagic:]))
	})
}

// rewind commits an older text again.
func rewind(t *testing.T, path string, seqno uint64) {
	t.Helper()
	for old, err := range scan(t, lvm.Options{}, path).History(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if old.Group.Seqno == seqno {
			commit(t, path, old.Offset, append(old.Group.Text, 0))
			return
		}
	}
	t.Fatalf("%s: there is no text %d", path, seqno)
}

// commit makes a text the committed one.
func commit(t *testing.T, path string, offset uint64, text []byte) {
	t.Helper()
	change(t, path, areaOffset+int64(offset), len(text), func(p []byte) { copy(p, text) })
	changeHeader(t, path, func(p []byte) {
		binary.LittleEndian.PutUint64(p[offSlot:], offset)
		binary.LittleEndian.PutUint64(p[offSlot+8:], uint64(len(text)))
		binary.LittleEndian.PutUint32(p[offSlot+16:], crc(text))
	})
}

func scan(t *testing.T, opt lvm.Options, paths ...string) *lvm.Set {
	t.Helper()
	var imgs []*disk.Disk
	for _, path := range paths {
		img, err := disk.Open(path, disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		imgs = append(imgs, img)
	}
	set, err := lvm.Scan(t.Context(), opt, imgs...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// lines describes physical volumes: group, name, image, used extents, problems.
func lines(pvs []lvmreport.PV) []string {
	var all []string
	for _, pv := range pvs {
		group, name, image := "-", "-", "-"
		if pv.Group != nil {
			group, name = pv.Group.ID[:4], pv.Known.Name
		}
		if pv.Disk != nil {
			image = filepath.Base(pv.Disk.On.Image().Name)
		}
		all = append(all, fmt.Sprint(group, " ", name, " ", image, " ", pv.Used, " ", pv.Problems))
	}
	return all
}

// heads copies LVM's part of disks into sparse files of the same size.
func heads(t *testing.T, disks []string) []string {
	t.Helper()
	dir := t.TempDir()
	var copies []string
	for _, disk := range disks {
		path := filepath.Join(dir, filepath.Base(disk))
		in, err := os.Open(disk)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 1<<20)
		if _, err := io.ReadFull(in, head); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, head, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, path)
	}
	return copies
}

func TestPVs(t *testing.T) {
	disks, _ := fixtures.Disks(t, "two-pvs")
	const disk1, disk2 = "two-pvs.1.img", "two-pvs.2.img"
	for name, c := range map[string]struct {
		spoil func(t *testing.T, paths []string) (lvm.Options, []string)
		want  []string
	}{
		"sound": {
			func(_ *testing.T, paths []string) (lvm.Options, []string) { return lvm.Options{}, paths },
			[]string{"D1o9 pv0 " + disk1 + " 49 []", "D1o9 pv1 " + disk2 + " 41 []"},
		},
		"missing": {
			func(_ *testing.T, paths []string) (lvm.Options, []string) { return lvm.Options{}, paths[:1] },
			[]string{"D1o9 pv0 " + disk1 + " 49 []", "D1o9 pv1 - 41 [missing]"},
		},
		"stale": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				rewind(t, paths[1], 7)
				return lvm.Options{}, paths
			},
			[]string{"D1o9 pv0 " + disk1 + " 49 []", "D1o9 pv1 " + disk2 + " 41 [stale]"},
		},
		"newer than the backup": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				return lvm.Options{Backup: oldGroup(t, paths[0], 1)}, paths
			},
			[]string{"D1o9 pv0 " + disk1 + " 0 [newer]", "D1o9 pv1 " + disk2 + " 0 [newer]"},
		},
		"twice": {
			func(_ *testing.T, paths []string) (lvm.Options, []string) {
				return lvm.Options{}, append(paths, paths[1])
			},
			[]string{"D1o9 pv0 " + disk1 + " 49 []", "D1o9 pv1 " + disk2 + " 41 [twice]", "D1o9 pv1 " + disk2 + " 41 [twice]"},
		},
		"ignored area": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				changeHeader(t, paths[0], func(p []byte) { p[offFlags] = 1 })
				return lvm.Options{}, paths
			},
			[]string{"D1o9 pv0 " + disk1 + " 49 [ignored-area]", "D1o9 pv1 " + disk2 + " 41 []"},
		},
		"bad area, interrupted commit": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				change(t, paths[0], areaOffset, 512, func(p []byte) { p[100]++ })
				changeHeader(t, paths[1], func(p []byte) { p[offSlot+24] = 2 })
				return lvm.Options{}, paths
			},
			[]string{"D1o9 pv0 " + disk1 + " 49 [bad-area]", "D1o9 pv1 " + disk2 + " 41 [interrupted]"},
		},
		"short": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				if err := os.Truncate(paths[1], 100<<20); err != nil {
					t.Fatal(err)
				}
				return lvm.Options{}, paths
			},
			[]string{"D1o9 pv0 " + disk1 + " 49 []", "D1o9 pv1 " + disk2 + " 41 [short]"},
		},
		"written off": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				edited(t, paths, `flags = []`+"\ndev_size", `flags = ["MISSING"]`+"\ndev_size")
				return lvm.Options{}, paths
			},
			[]string{"D1o9 pv0 " + disk1 + " 49 [written-off]", "D1o9 pv1 " + disk2 + " 41 [written-off]"},
		},
		"another group": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				edited(t, paths[1:], `id = "D1o97r-`, `id = "XXXXXX-`)
				return lvm.Options{}, paths
			},
			[]string{
				"D1o9 pv0 " + disk1 + " 49 []", "D1o9 pv1 - 41 [other-group]",
				"XXXX pv0 - 49 [other-group]", "XXXX pv1 " + disk2 + " 41 []",
			},
		},
		"no group": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				change(t, paths[0], areaOffset, 512, func(p []byte) { p[100]++ })
				return lvm.Options{}, paths[:1]
			},
			[]string{"- - " + disk1 + " 0 [no-group bad-area]"},
		},
		"named by the caller": {
			func(t *testing.T, paths []string) (lvm.Options, []string) {
				img, err := disk.Open(paths[0], disk.Options{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { img.Close() })
				return lvm.Options{Backup: oldGroup(t, paths[0], 13), PVs: map[string]*disk.Disk{"pv0": img}}, paths[1:]
			},
			[]string{"D1o9 pv0 " + disk1 + " 49 []", "D1o9 pv1 " + disk2 + " 41 []"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			opt, paths := c.spoil(t, heads(t, disks))
			if diff := cmp.Diff(c.want, lines(lvmreport.PVs(scan(t, opt, paths...)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// oldGroup parses an old text that is still on a disk.
func oldGroup(t *testing.T, path string, seqno uint64) *lvm.Group {
	t.Helper()
	for old, err := range scan(t, lvm.Options{}, path).History(t.Context()) {
		if err == nil && old.Group.Seqno == seqno {
			return old.Group
		}
	}
	t.Fatalf("%s: there is no text %d", path, seqno)
	return nil
}

// edited replaces a string everywhere in the text on disks.
func edited(t *testing.T, paths []string, from, to string) {
	t.Helper()
	g := scan(t, lvm.Options{}, paths...).Groups[0]
	text := bytes.ReplaceAll(g.Text, []byte(from), []byte(to))
	if bytes.Equal(text, g.Text) {
		t.Fatalf("there is no %q", from)
	}
	for _, path := range paths {
		commit(t, path, 512<<10, append(slices.Clone(text), 0))
	}
}

// group parses a group with volumes on pv0, which exists, and pv1, which is missing.
func group(t *testing.T, volumes ...string) *lvm.Group {
	t.Helper()
	var text strings.Builder
	text.WriteString(`vg {
id = "vg"
seqno = 1
extent_size = 8
status = ["READ"]
physical_volumes {
pv0 { id = "0" status = ["ALLOCATABLE"] pe_start = 8 pe_count = 10 }
pv1 { id = "1" status = ["ALLOCATABLE"] pe_start = 8 pe_count = 10 }
}
logical_volumes {
`)
	for _, v := range volumes {
		name, segments, _ := strings.Cut(v, ":")
		all := strings.Split(segments, ";")
		fmt.Fprintf(&text, "%s {\nid = \"%[1]s\"\nstatus = [\"READ\"]\nsegment_count = %d\n", name, len(all))
		for i, s := range all {
			fmt.Fprintf(&text, "segment%d {\n%s\n}\n", i+1, s)
		}
		text.WriteString("}\n")
	}
	text.WriteString("}\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\n")
	g, err := lvm.ParseGroup([]byte(text.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	g.PV("pv0").Disk = &lvm.Disk{On: disk.New("disk", nil, 1<<20)}
	return g
}

func striped(start, extents int, stripes string) string {
	return fmt.Sprintf("start_extent = %d extent_count = %d type = \"striped\" stripe_count = %d stripe_size = 8 stripes = [%s]",
		start, extents, strings.Count(stripes, ",")/2+1, stripes)
}

// Each existing extent counts once; others do not count.
func TestAllocations(t *testing.T) {
	mirror := `start_extent = 0 extent_count = 3 type = "mirror" mirror_count = 2 mirrors = ["pv0", 0, "pv1", 7]`
	for name, c := range map[string]struct {
		volumes []string
		want    [2]string
	}{
		"none":       {nil, [2]string{"0 []", "0 [missing]"}},
		"adjacent":   {[]string{"a:" + striped(0, 4, `"pv0", 3`), "b:" + striped(0, 3, `"pv0", 0`)}, [2]string{"7 []", "0 [missing]"}},
		"striped":    {[]string{"a:" + striped(0, 8, `"pv0", 0, "pv1", 2`) + ";" + striped(8, 2, `"pv1", 0`)}, [2]string{"4 []", "6 [missing]"}},
		"mirror":     {[]string{"a:" + mirror}, [2]string{"3 []", "3 [missing]"}},
		"used twice": {[]string{"a:" + striped(0, 4, `"pv0", 3`), "b:" + striped(0, 2, `"pv0", 4`)}, [2]string{"4 [used-twice]", "0 [missing]"}},
		"beyond":     {[]string{"a:" + striped(0, 4, `"pv0", 8`), "b:" + striped(0, 1, `"pv0", 99`)}, [2]string{"2 [beyond-the-end]", "0 [missing]"}},
		"on a volume": {
			[]string{"a:" + striped(0, 2, `"pv0", 0`), "b:" + striped(0, 2, `"a", 0`)},
			[2]string{"2 []", "0 [missing]"},
		},
	} {
		pvs := lvmreport.PVs(&lvm.Set{Groups: []*lvm.Group{group(t, c.volumes...)}})
		var got [2]string
		for i, pv := range pvs {
			got[i] = fmt.Sprint(pv.Used, " ", pv.Problems)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A volume on a missing physical volume, directly or indirectly, is partial. The origin of a thin
// volume does not matter.
func TestPartial(t *testing.T) {
	const segment = "start_extent = 0 extent_count = 1 type = "
	g := group(t,
		"here:"+striped(0, 1, `"pv0", 0`),
		"gone:"+striped(0, 1, `"pv0", 1`)+";"+striped(1, 1, `"pv1", 0`),
		"on_gone:"+striped(0, 1, `"gone", 0`),
		"r_rmeta_0:"+striped(0, 1, `"pv1", 5`),
		"r_rmeta_1:"+striped(0, 1, `"pv0", 5`),
		"raid:"+segment+`"raid1" device_count = 2 region_size = 8 raids = ["r_rmeta_0", "here", "r_rmeta_1", "here"]`,
		"pool:"+segment+`"thin-pool" metadata = "here" pool = "here" transaction_id = 0 chunk_size = 128`,
		"thin:"+segment+`"thin" thin_pool = "pool" transaction_id = 0 device_id = 1 origin = "gone"`,
		"external:"+segment+`"thin" thin_pool = "pool" transaction_id = 0 device_id = 2 external_origin = "on_gone"`,
		"pool2:"+segment+`"thin-pool" metadata = "raid" pool = "here" transaction_id = 0 chunk_size = 128`,
		"thin2:"+segment+`"thin" thin_pool = "pool2" transaction_id = 0 device_id = 1`,
		"cache:"+segment+`"cache" cache_pool = "gone" origin = "here"`,
		"itself:"+segment+`"striped" stripe_count = 1 stripes = ["itself", 0]`,
	)
	partial := lvmreport.Partial(g)
	var got []string
	for _, v := range g.LVs {
		if partial[v] {
			got = append(got, v.Name)
		}
	}
	want := []string{"gone", "on_gone", "r_rmeta_0", "raid", "external", "pool2", "thin2", "cache"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
