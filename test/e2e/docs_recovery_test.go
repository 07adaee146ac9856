package e2e

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Values for the words in capitals.
var (
	pool16m = map[string]string{"SIZE": "16M"}
	vg1     = map[string]string{"VG": "vg1", "POOL": "pool", "LV": "trimmed", "DISK": "disk", "SIZE": "4M", "SEQNO": "12"}
)

// with returns words and additional pairs.
func with(words map[string]string, more ...string) map[string]string {
	words = maps.Clone(words)
	for i := 0; i < len(more); i += 2 {
		words[more[i]] = more[i+1]
	}
	return words
}

var recoveryCases = []docCase{
	{name: "find", start: damagedPool("odd-blocks", nil, 81)},
	{
		name: "wiped-superblock", words: with(pool16m, "CHUNK", "128", "BLOCKS", "1638400", "ID", "0"),
		start: damagedPool("layers", nothing, 0),
	},
	{name: "one-leaf", words: pool16m, start: damagedPool("odd-blocks", leafOfDevice2, 81)},
	{name: "one-leaf-drop", words: with(pool16m, "ID", "2"), start: damagedPool("odd-blocks", func(m docMapping) bool { return m.dev == 2 }, 81)},
	{name: "mapping-root", words: pool16m, start: damagedPool("transactions", nothing, 229)},
	{
		name: "first-mebibyte", words: with(pool16m, "CHUNK", "2048", "BLOCKS", "4194304", "ID", "0"),
		start: changedPool("big-blocks", nothing, func(image []byte) []byte {
			noise := rand.NewChaCha8([32]byte{1})
			_, _ = noise.Read(image[:1<<20])
			return image
		}),
	},
	{name: "disk-start", words: vg1, start: func(t *testing.T, dir string) func() {
		disk := newDisk(t, dir)
		writeAt(t, disk, 0, make([]byte, 1<<20))
		return nil
	}},
	{name: "cut", words: pool16m, start: changedPool("layers", nothing, func(image []byte) []byte { return image[:len(image)/2] })},
	{name: "cut", words: pool16m, start: changedPool("odd-blocks", leafOfDevice2, func(image []byte) []byte {
		// Nothing after the cut is needed, and before it the same leaf is lost as above.
		clear(image[81*block.Size : 82*block.Size])
		return image[:len(image)/2]
	})},
	{name: "swapped", words: pool16m, start: changedPool("odd-blocks", nothing, func(image []byte) []byte {
		a, b := image[81*block.Size:82*block.Size], image[82*block.Size:83*block.Size]
		was := string(a)
		copy(a, b)
		copy(b, was)
		return image
	})},
	{name: "space-maps", words: pool16m, start: damagedPool("transactions", nothing, 10)},
	{name: "leaks", start: fixedPool("powercut")},
	{name: "leaks-undo", after: "leaks", start: undonePool("powercut")},
	{name: "needs-check", start: damagedPool("needs-check", nil)},
	{name: "needs-check-clear", after: "needs-check", start: fixedPool("needs-check")},
	{name: "needs-check-undo", after: "needs-check-clear", start: undonePool("needs-check")},
	{name: "needs-check-damaged", words: pool16m, start: func(t *testing.T, dir string) func() {
		damagedPool("needs-check", nil, 159)(t, dir)
		return func() {
			lost := lostMappings(t, mappingsOf(t, fixture(t, "needs-check")), mappingsOf(t, filepath.Join(dir, "new.meta")))
			for m := range lost { // guesses may be wrong
				if m.dev != 1 || m.thin < 16350 || m.thin > 23751 {
					t.Errorf("%+v is lost", m)
				}
			}
		}
	}},
	{name: "metadata-full", words: pool16m, start: func(t *testing.T, dir string) func() {
		const blocks = 10
		f := fixtures.NewForge(t, blocks, 1000)
		f.Superblock.Flags = metadata.NeedsCheck
		f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
		f.LeakData(500)
		write(t, filepath.Join(dir, "pool.meta"), f.Finish().Contents())
		return func() {
			wantLost(t, filepath.Join(dir, "pool.meta"), filepath.Join(dir, "new.meta"), nothing)
		}
	}},
	{name: "undelete", start: func(t *testing.T, dir string) func() {
		write(t, filepath.Join(dir, "pool.meta"), must(fixtures.OpenHistory("deletes")).Image)
		return nil
	}},
	{
		name: "undelete-copy", after: "undelete", words: with(pool16m, "STATE", "2", "DATA", "data", "ID", "9", "LVSIZE", "512m", "LV", "deleted"),
		start: undelete,
	},
	{name: "lvm-history", words: vg1, start: func(t *testing.T, dir string) func() {
		newDisk(t, dir)
		was := string(must(os.ReadFile(filepath.Join(dir, "vg1.text"))))
		return func() {
			if got := string(must(os.ReadFile(filepath.Join(dir, "vg1.text")))); got != was {
				t.Errorf("the text is not that of the disk: %s", got)
			}
		}
	}},
	{name: "transaction-id", start: damagedPool("transactions", nil)},
	{name: "transaction-id-set", after: "transaction-id", words: with(pool16m, "ID", "7"), start: func(t *testing.T, dir string) func() {
		return func() {
			old, changed := dumpOf(t, fixture(t, "transactions")), dumpOf(t, filepath.Join(dir, "new.meta"))
			if want := strings.Replace(old, ` transaction="5" `, ` transaction="7" `, 1); changed != want || want == old {
				t.Error("not the same with another transaction id")
			}
		}
	}},
	{name: "disk-image", words: vg1, start: func(t *testing.T, dir string) func() {
		disk := newDisk(t, dir)
		sound := dumpOf(t, disk)
		wipeBlocks(t, disk, 25952, 25979) // a leaf, and the root of all mappings
		write(t, filepath.Join(dir, "damaged"), []byte(sumOf(t, disk)))
		return func() {
			if dumpOf(t, disk) != sound {
				t.Error("not what it was")
			}
		}
	}},
	{name: "disk-image-undo", after: "disk-image", start: func(t *testing.T, dir string) func() {
		return func() {
			if sumOf(t, filepath.Join(dir, "disk.img")) != string(must(os.ReadFile(filepath.Join(dir, "damaged")))) {
				t.Error("not what it was")
			}
		}
	}},
	{name: "disk-image-file", words: vg1, start: func(t *testing.T, dir string) func() {
		disk := newDisk(t, dir)
		sound := dumpOf(t, disk)
		wipeBlocks(t, disk, 25952)
		return func() {
			if dumpOf(t, disk) != sound {
				t.Error("not what it was")
			}
		}
	}},
	{name: "encrypted", words: with(vg1, "KEY", "key"), start: encryptedDisk},
	{name: "encrypted-repair", words: with(vg1, "KEY", "key"), start: func(t *testing.T, dir string) func() {
		disk := newDisk(t, dir)
		sound := dumpOf(t, disk)
		wipeBlocks(t, disk, 25952, 25979) // a leaf, and the root of all mappings
		encrypt(t, dir, disk)
		return func() {
			if dumpOf(t, filepath.Join(dir, "new.meta")) != sound {
				t.Error("not what it was")
			}
		}
	}},
	{name: "raid", words: with(vg1, "DISK2", "second"), start: func(t *testing.T, dir string) func() {
		disk := newDisk(t, dir)
		sound := volumeOf(t, dir, disk)
		content := must(os.ReadFile(disk))
		for role, name := range []string{"disk.img", "second.img"} {
			leg := fixtures.Leg{Level: 1, Devices: 2, Role: role, Events: 10}
			write(t, filepath.Join(dir, name), leg.Make(content))
		}
		return func() { wantSameFile(t, filepath.Join(dir, "trimmed.img"), sound) }
	}},
	{name: "missing-pv", words: map[string]string{"DISK": "disk", "DISK2": "second"}, start: func(t *testing.T, dir string) func() {
		for name, to := range map[string]string{"two-pvs.1": "disk.img", "two-pvs.2": "second.img"} {
			if err := fixtures.WriteDisk(name, filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}},
	{name: "lvm-label", words: vg1, start: func(t *testing.T, dir string) func() {
		disk := newDisk(t, dir)
		ours(t, "thin_export", disk, "--lv", "vg1/trimmed", "-o", filepath.Join(dir, "sound"))
		writeAt(t, disk, 512, make([]byte, 512))
		return func() { wantSameFile(t, filepath.Join(dir, "trimmed.img"), filepath.Join(dir, "sound")) }
	}},
	{name: "lvm-text", words: vg1, start: func(t *testing.T, dir string) func() {
		disk, text := newDisk(t, dir), filepath.Join(dir, "vg1.text")
		was := must(os.ReadFile(text))
		write(t, text, nil)
		writeAt(t, disk, 4200, []byte("x"))
		return func() {
			if string(must(os.ReadFile(text))) != string(was) {
				t.Error("not the text that the disk had")
			}
		}
	}},
	{name: "set-back", start: func(t *testing.T, dir string) func() {
		write(t, filepath.Join(dir, "pool.meta"), must(fixtures.OpenHistory("set-back-idle")).Image)
		return nil
	}},
	{name: "set-back-repair", after: "set-back", words: with(pool16m, "STATE", "1"), start: func(t *testing.T, dir string) func() {
		h := must(fixtures.OpenHistory("set-back-idle"))
		right := filepath.Join(dir, "right")
		write(t, right, h.At(h.Right))
		return func() { wantLost(t, right, filepath.Join(dir, "new.meta"), nothing) }
	}},
	{name: "orphans", start: orphanTrees},
	{name: "orphans-look", after: "orphans", words: with(pool16m, "DATA", "data", "NEWID", "6"), start: func(t *testing.T, dir string) func() {
		dataFile(t, filepath.Join(dir, "data"), 128, mappingsOf(t, filepath.Join(dir, "sound.meta")))
		return func() {
			// The orphan in block 1 has the content of device 1.
			wantContent(t, filepath.Join(dir, "look.img"), 128, mappingsOf(t, filepath.Join(dir, "sound.meta")), 1)
		}
	}},
	{
		name: "orphans-adopt", after: "orphans", words: with(pool16m, "ROOT1", "1", "ID1", "1", "ROOT2", "2", "ID2", "2"),
		start: func(t *testing.T, dir string) func() {
			return func() {
				wantLost(t, filepath.Join(dir, "sound.meta"), filepath.Join(dir, "new.meta"), nothing)
			}
		},
	},
	{name: "export", words: vg1, start: func(t *testing.T, dir string) func() {
		disks, volumes := fixtures.Disks(t, "one-pv")
		if err := os.Rename(disks[0], filepath.Join(dir, "disk.img")); err != nil {
			t.Fatal(err)
		}
		return func() {
			for _, v := range volumes {
				if v.Name == "trimmed" && sumOf(t, filepath.Join(dir, "trimmed.img")) != v.SHA256 {
					t.Error("not what the kernel read")
				}
			}
		}
	}},
	{name: "fill-holes", words: map[string]string{"DATA": "data", "ID": "1", "LVSIZE": "25m", "LV": "vol", "BACKUP": "backup"}, start: fillHoles},
	{name: "lost-files", words: map[string]string{"DATA": "data", "ID": "1", "LVSIZE": "4m", "LV": "vol"}, start: lostFiles},
	{name: "too-small", words: with(pool16m, "SMALL", "100K"), start: damagedPool("layers", nothing)},
	{name: "help", start: func(t *testing.T, dir string) func() {
		damagedPool("odd-blocks", nil, 81)(t, dir)
		return func() {
			of := func(name string) string {
				return run(t, filepath.Join(tools, "thin_check"), filepath.Join(dir, name)).stderr
			}
			if of("pool.pack") != of("pool.meta") || of("pool.meta") == "" {
				t.Errorf("the pack has other faults: %s", of("pool.pack"))
			}
		}
	}},
}

func nothing(docMapping) bool { return false }

// leafOfDevice2 reports mappings that are only in block 81 of "odd-blocks".
func leafOfDevice2(m docMapping) bool { return m.dev == 2 && 45614 <= m.thin && m.thin <= 50906 }

// damagedPool creates pool.meta from a kernel's image with some blocks wiped. At the end it checks
// that new.meta has lost exactly what lost reports.
func damagedPool(name string, lost func(docMapping) bool, wiped ...int) func(*testing.T, string) func() {
	return changedPool(name, lost, func(image []byte) []byte {
		for _, nr := range wiped {
			clear(image[nr*block.Size : (nr+1)*block.Size])
		}
		return image
	})
}

func changedPool(name string, lost func(docMapping) bool, change func([]byte) []byte) func(*testing.T, string) func() {
	return func(t *testing.T, dir string) func() {
		write(t, filepath.Join(dir, "pool.meta"), change(must(fixtures.Image(name))))
		if lost == nil {
			return nil
		}
		return func() { wantLost(t, fixture(t, name), filepath.Join(dir, "new.meta"), lost) }
	}
}

// fixedPool creates pool.meta from an image to be fixed in place without any change to mappings.
func fixedPool(name string) func(*testing.T, string) func() {
	return func(t *testing.T, dir string) func() {
		path := filepath.Join(dir, "pool.meta")
		write(t, path, must(fixtures.Image(name)))
		return func() {
			wantLost(t, fixture(t, name), path, nothing)
			if strings.Contains(dumpOf(t, path), `flags="1"`) {
				t.Error("the flag is still set")
			}
		}
	}
}

// undonePool checks that pool.meta is the same as at the start.
func undonePool(name string) func(*testing.T, string) func() {
	return func(t *testing.T, dir string) func() {
		return func() { wantSameFile(t, filepath.Join(dir, "pool.meta"), fixture(t, name)) }
	}
}

// undelete creates data for a pool whose device 9 was deleted, and checks its content.
func undelete(t *testing.T, dir string) func() {
	h := must(fixtures.OpenHistory("deletes"))
	last := 0
	for i, c := range h.Commits {
		for _, d := range c.Devices {
			if d.ID == 9 {
				last = i
			}
		}
	}
	before := filepath.Join(dir, "before")
	write(t, before, h.At(last))
	mappings := mappingsOf(t, before)
	dataFile(t, filepath.Join(dir, "data"), 128, mappings)
	return func() {
		wantLost(t, before, filepath.Join(dir, "old.meta"), nothing)
		wantContent(t, filepath.Join(dir, "deleted.img"), 128, mappings, 9)
	}
}

// orphanTrees creates a pool whose devices 1 and 2 have the same number of mappings, and whose
// top-level tree is lost.
func orphanTrees(t *testing.T, dir string) func() {
	f := fixtures.NewForge(t, 64, 10000)
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 0, Len: 100}))
	f.Device(2, f.Leaf(metadata.Run{Thin: 500, Data: 1000, Len: 100}))
	f.Device(5, f.Leaf(metadata.Run{Thin: 0, Data: 2000, Len: 50}))
	image := f.Finish()
	write(t, filepath.Join(dir, "sound.meta"), image.Contents())
	if err := block.Write(image, f.Superblock.MappingRoot, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pool.meta"), image.Contents())
	return nil
}

// fillHoles creates a pool with one device whose second leaf is lost, and an older copy of the
// device that differs everywhere.
func fillHoles(t *testing.T, dir string) func() {
	if _, err := exec.LookPath("ddrescue"); err != nil {
		t.Skip("GNU ddrescue is not installed")
	}
	f := fixtures.NewForge(t, 64, 1000)
	first, second := f.Leaf(metadata.Run{Thin: 0, Data: 500, Len: 200}), f.Leaf(metadata.Run{Thin: 200, Data: 100, Len: 200})
	f.Device(1, f.Inner(first, second))
	image := f.Finish()
	sound := filepath.Join(dir, "sound.meta")
	write(t, sound, image.Contents())
	mappings := mappingsOf(t, sound)
	dataFile(t, filepath.Join(dir, "data"), 128, mappings)
	was := ours(t, "thin_export", "--metadata", sound, "--data", filepath.Join(dir, "data"), "--dev-id", "1", "--size", "25m", "-o", "-")
	const lost = 25 << 20 / 2
	older := bytes.Repeat([]byte("older. "), 25<<20/7+1)[:25<<20]
	write(t, filepath.Join(dir, "backup.img"), older)
	if err := block.Write(image, second, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pool.meta"), image.Contents())
	return func() {
		got := must(os.ReadFile(filepath.Join(dir, "vol.img")))
		if string(got[:lost]) != was[:lost] {
			t.Error("what was not lost has changed")
		}
		if !bytes.Equal(got[lost:], older[lost:]) {
			t.Error("what was lost is not the backup's")
		}
	}
}
