package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/internal/pdata/btree"
	"thinpool/internal/pdata/spacemap"
	"thinpool/lvm"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/repair"
)

// damageVolume damages a volume on disks.
func damageVolume(t *testing.T, volume string, paths []string, damage func(*testing.T, block.Device)) {
	t.Helper()
	var imgs []*disk.Disk
	for _, path := range paths {
		img := must(disk.Open(path, disk.Options{Claim: true}))
		if err := img.OpenForWriting(); err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		imgs = append(imgs, img)
	}
	g := must(lvm.Scan(t.Context(), lvm.Options{}, imgs...)).Groups[0]
	damage(t, must(g.OpenWritable(g.Volume(volume))))
}

// wipe zeroes blocks.
func wipe(t *testing.T, dev block.Device, nrs ...block.Nr) {
	t.Helper()
	for _, nr := range nrs {
		if err := block.Write(dev, nr, new(block.Data)); err != nil {
			t.Fatal(err)
		}
	}
}

// losslessDamage wipes the top level and, if there is one, a mapping leaf that can be recovered
// completely.
func losslessDamage(t *testing.T, dev block.Device) {
	t.Helper()
	p := must(metadata.Open(dev, metadata.Options{}))
	wiped := []block.Nr{p.Live.MappingRoot}
	for _, leaf := range leaves(t, p) {
		damaged := block.NewOverlay(dev, block.Blocks(dev))
		for _, nr := range append(wiped, leaf) {
			damaged.Put(nr, new(block.Data))
		}
		if found, err := repair.Find(t.Context(), damaged, repair.Options{}); err == nil && found.Report.Lossless() {
			wiped = append(wiped, leaf)
			break
		}
	}
	t.Logf("blocks %d are wiped", wiped)
	wipe(t, dev, wiped...)
}

// leaves returns the mapping leaves.
func leaves(t *testing.T, p *metadata.Pool) []block.Nr {
	t.Helper()
	var devices []metadata.Device
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, d)
	}
	var all []block.Nr
	for _, leaf := range must(p.Mappings(t.Context(), devices...)).Forest.Leaves() {
		all = append(all, leaf.Block)
	}
	return all
}

// lossyDamage wipes the first mapping leaf: that of device 1, of which nothing else is left.
func lossyDamage(t *testing.T, dev block.Device) {
	t.Helper()
	wipe(t, dev, leaves(t, must(metadata.Open(dev, metadata.Options{})))[0])
}

// leak marks the last free data block as used.
func leak(t *testing.T, dev block.Device) {
	t.Helper()
	p := must(metadata.Open(dev, metadata.Options{}))
	root := p.Live.DataSpaceMap
	entry, ok, err := btree.Lookup(p.Reader(), p.Limit(), root.BitmapRoot, spacemap.EntrySize, 0)
	if err != nil || !ok {
		t.Fatalf("no bitmap: %v", err)
	}
	nr := spacemap.DecodeEntry(entry).Block
	fixtures.Edit(t, dev, nr, func(b *block.Data) {
		bitmap := must(spacemap.DecodeBitmap(nr, b))
		last := int(root.NrBlocks) - 1
		if bitmap.Count(last) != 0 {
			t.Fatal("the last data block is in use")
		}
		bitmap.Set(last, 1)
		block.Reseal(b, block.Bitmap)
	})
}

// inVM lets LVM activate a group on disks and returns the SHA-256 of its volumes. If scrub names a
// volume, the kernel also compares its copies.
func inVM(t *testing.T, group string, volumes []string, scrub string, disks ...string) map[string]string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	const text = `
g=$1 scrub=$2; shift 2
for m in dm-raid dm-mirror dm-thin-pool dm-snapshot raid0 raid1 raid10 raid456; do modprobe $m 2>/dev/null; done
vgchange -ay $g >/dev/null || die "vgchange"
for v; do lvchange -ay -K $g/$v || die "$v"; echo "$(sha256sum </dev/$g/$v | cut -d' ' -f1) $v"; done
if [ -n "$scrub" ]; then
  lvchange --syncaction check $g/$scrub || die "check of $scrub"
  i=0; while [ "$(lvs --noheadings -o raid_sync_action $g/$scrub | tr -d ' ')" != idle ]; do sleep 1; i=$((i + 1)); [ $i -lt 60 ] || die "check of $scrub"; done
  echo "$(lvs --noheadings -o raid_mismatch_count $g/$scrub | tr -d ' ') mismatches"
fi
vgchange -an $g >/dev/null || die "deactivate"
sync
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, disk := range disks {
		args = append(args, "--disk", disk)
	}
	r := run(t, runInVM, append(append(args, script, group, scrub), volumes...)...)
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	sums := map[string]string{}
	for line := range strings.Lines(r.out) {
		if f := strings.Fields(line); len(f) == 2 {
			sums[f[1]] = f[0]
		}
	}
	return sums
}

// sumOf returns the SHA-256 of files.
func sumOf(t *testing.T, paths ...string) string {
	t.Helper()
	h := sha256.New()
	for _, path := range paths {
		f := must(os.Open(path))
		must(io.Copy(h, f))
		f.Close()
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// onImages returns a tool's arguments for a group on several disks: the first as input, the others
// as --pv.
func onImages(tool string, disks []string, args ...string) []string {
	for _, disk := range disks[1:] {
		args = append(args, "--pv", disk)
	}
	if tool == "thin_repair" {
		return append(args, "-i", disks[0])
	}
	return append(args, disks[0])
}

// Metadata is damaged inside disk images and repaired there. Then LVM and the kernel activate the
// pools, and the volumes have their old content. Undoing the repair restores the damaged disks byte
// for byte, although the pool was active in between.
func TestKernelInPlace(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	for _, tc := range []struct {
		name, disks string
		damage      func(*testing.T, block.Device)
		repair      []string
		lost        []string // lost volumes
	}{
		{"lost blocks", "one-pv", losslessDamage, []string{"thin_repair"}, nil},
		{"leak", "one-pv", leak, []string{"thin_check", "--auto-repair"}, nil},
		{"lost leaf", "one-pv", lossyDamage, []string{"thin_repair", "--accept-loss"}, []string{"base"}},
		{"lost blocks, two disks", "two-pvs", losslessDamage, []string{"thin_repair"}, nil},
	} {
		if !sampled(tc.name, "lost leaf", "lost blocks, two disks") {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			disks, volumes := fixtures.Disks(t, tc.disks)
			damageVolume(t, "pool_tmeta", disks, tc.damage)
			damaged := sumOf(t, disks...)
			if r := run(t, filepath.Join(tools, "thin_check"), onImages("", disks, "--strict")...); r.code != 1 {
				t.Fatalf("thin_check --strict: exit code %d, want 1", r.code)
			}
			undo := filepath.Join(t.TempDir(), "undo")
			ours(t, tc.repair[0], onImages(tc.repair[0], disks, append(tc.repair[1:], "--in-place", "--undo", undo)...)...)
			ours(t, "thin_check", onImages("", disks, "--strict")...)
			var names []string
			for _, v := range volumes {
				if v.Name != "pool_tmeta" {
					names = append(names, v.Name)
				}
			}
			sums := inVM(t, volumes[0].Group, names, "", disks...)
			for _, v := range volumes {
				if slices.Contains(names, v.Name) && (sums[v.Name] == v.SHA256) == slices.Contains(tc.lost, v.Name) {
					t.Errorf("%s has sum %s, before the damage %s", v.Name, sums[v.Name], v.SHA256)
				}
			}
			ours(t, "thin_check", onImages("", disks, "--in-place", "--apply-undo", undo)...)
			if sumOf(t, disks...) != damaged {
				t.Error("the undone disks are not those that were damaged")
			}
		})
	}
}

// The same for metadata on raid1: both images are written, and the kernel finds no difference
// between them.
func TestKernelInPlaceRAID1(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	kept, sums := layoutDisks(t)
	var disks []string
	dir := t.TempDir()
	for _, path := range kept {
		made := filepath.Join(dir, filepath.Base(path))
		if out, err := exec.Command("cp", "--sparse=always", path, made).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		disks = append(disks, made)
	}
	damageVolume(t, "tp_tmeta", disks, losslessDamage)
	damaged := must(volumeSum(scanDisks(t, disks...), "tp_tmeta", lvm.ReadOptions{Same: true}))
	if damaged == sums["tp_tmeta"] {
		t.Fatal("nothing was damaged")
	}
	undo := filepath.Join(dir, "undo")
	ours(t, "thin_repair", onImages("thin_repair", disks, "--lv", "kv/tp", "--in-place", "--undo", undo)...)
	volumes := []string{"t1", "s1", "x1"}
	got := inVM(t, "kv", volumes, "tp_tmeta", disks...)
	for _, name := range volumes {
		if got[name] != sums[name] {
			t.Errorf("%s has sum %s, want %s", name, got[name], sums[name])
		}
	}
	if got["mismatches"] != "0" {
		t.Errorf("%s sectors of the images differ", got["mismatches"])
	}
	ours(t, "thin_check", onImages("", disks, "--lv", "kv/tp", "--in-place", "--apply-undo", undo)...)
	if got, err := volumeSum(scanDisks(t, disks...), "tp_tmeta", lvm.ReadOptions{Same: true}); err != nil || got != damaged {
		t.Errorf("the undone volume is not the one that was damaged (%v)", err)
	}
}
