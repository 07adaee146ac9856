package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
)

// listed is the JSON output of thin_volumes: all kinds of records in one struct.
type listed struct {
	Type, VG, ID, Name, Image string
	Seqno                     uint64
	Start                     int64
	LabelSector               int `json:"label_sector"`
	Areas                     []struct {
		Offset, Size uint64
		TextOffset   uint64 `json:"text_offset"`
		TextSize     uint64 `json:"text_size"`
		Ignored      bool
		Interrupted  bool
	}
	PEStart    uint64 `json:"pe_start"`
	Extents    uint64
	ExtentSize uint64 `json:"extent_size"`
	DeviceSize uint64 `json:"device_size"`
	Device     string
	Size       uint64
	Visible    bool
	Partial    bool
	Segtype    string
	Status     []string
	Flags      []string
	Segments   []struct {
		Start   uint64 `json:"start_extent"`
		Extents uint64
		Type    string
		Devices []struct {
			PV, LV string
			Extent uint64
		}
		Keys map[string]any
	}
	ThinPool *struct {
		Metadata, Data string
		ChunkSize      uint64 `json:"chunk_size"`
		TransactionID  uint64 `json:"transaction_id"`
		Discards       string
		Zero           bool `json:"zero_new_blocks"`
		Messages       []map[string]any
		Superblock     *struct {
			Transaction      uint64 `json:"transaction_id"`
			Time             uint64
			NeedsCheck       bool   `json:"needs_check"`
			HeldRoot         uint64 `json:"held_root"`
			DataBlockSize    uint64 `json:"data_block_size"`
			DataBlocks       uint64 `json:"data_blocks"`
			DataUsed         uint64 `json:"data_used_blocks"`
			MetadataBlocks   uint64 `json:"metadata_blocks"`
			MetadataUsed     uint64 `json:"metadata_used_blocks"`
			MetadataReserved uint64 `json:"metadata_reserved_blocks"`
		}
	} `json:"thin_pool"`
	Thin *struct {
		Pool           string
		DeviceID       uint64 `json:"dev_id"`
		TransactionID  uint64 `json:"transaction_id"`
		Origin         string
		ExternalOrigin string `json:"external_origin"`
		Merge          string
		Device         *thinDevice
	}
	Code string
}

type thinDevice struct {
	ID           uint64 `json:"dev_id"`
	Mapped       uint64 `json:"mapped_blocks"`
	Transaction  uint64 `json:"transaction_id"`
	CreationTime uint64 `json:"creation_time"`
	SnapTime     uint64 `json:"snap_time"`
}

// listVolumes runs thin_volumes and returns its records by type.
func listVolumes(t *testing.T, args ...string) map[string][]listed {
	t.Helper()
	all := map[string][]listed{}
	for line := range strings.Lines(ours(t, "thin_volumes", append(args, "--format", "json")...)) {
		var rec listed
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all[rec.Type] = append(all[rec.Type], rec)
	}
	return all
}

// peekedDisks is the output of the independent reader in its own format.
type peekedDisks struct {
	PVs []struct {
		Where string
		Start int64
		Label struct {
			UUID   string
			Sector int
		}
		Areas []struct {
			Offset      uint64
			Size        uint64 `json:"header_size"`
			Slots       []struct{ Offset, Size uint64 }
			Ignored     bool
			Precommited bool `json:"precommitted"`
		} `json:"mdas"`
	}
	VGs []struct {
		Name, UUID string
		Seqno      uint64
		ExtentSize uint64 `json:"extent_bytes"`
		Status     []string
		PVs        []struct {
			Name, UUID, Device string
			Region             *string
			Start              uint64 `json:"pe_start"`
			Extents            uint64 `json:"pe_count"`
			DeviceSize         uint64 `json:"dev_size"`
		}
		LVs []struct {
			Name, UUID, Type string
			Size             uint64
			Visible          bool
			Complete         bool
			Status, Flags    []string
			Segments         []map[string]any
		}
		Pools []struct {
			Name, Discards string
			Metadata       string `json:"metadata_lv"`
			Data           string `json:"data_lv"`
			Transaction    uint64 `json:"lvm_transaction_id"`
			Chunk          uint64 `json:"chunk_sectors"`
			Zero           int    `json:"zero_new_blocks"`
			Messages       []map[string]any
			Volumes        []struct {
				LV             string
				DeviceID       uint64 `json:"device_id"`
				Transaction    uint64 `json:"lvm_transaction_id"`
				Origin         string
				ExternalOrigin string `json:"external_origin"`
				Merge          string
			}
			Problems   []string
			Superblock *struct {
				Time           uint64
				Transaction    uint64 `json:"transaction_id"`
				NeedsCheck     bool   `json:"needs_check"`
				HeldRoot       uint64 `json:"held_root"`
				BlockSize      uint64 `json:"data_block_sectors"`
				MetadataBlocks uint64 `json:"metadata_blocks"`
				DataBlocks     uint64 `json:"data_blocks"`
			}
			Devices []struct {
				ID              uint64 `json:"dev_id"`
				Mapped          uint64 `json:"mapped_blocks"`
				Transaction     uint64 `json:"transaction_id"`
				CreationTime    uint64 `json:"creation_time"`
				SnapshottedTime uint64 `json:"snapshotted_time"`
			}
		} `json:"thin_pools"`
	}
}

// An independent reader agrees, for all disks and for some of them.
func TestVolumesPeek(t *testing.T) {
	t.Parallel()
	many(t)
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	peekTool(t)
	for _, name := range []string{"one-pv", "two-pvs"} {
		t.Run(name, func(t *testing.T) {
			paths, _ := fixtures.Disks(t, name)
			compareVolumes(t, python, paths)
		})
	}
	t.Run("layouts", func(t *testing.T) {
		paths, _ := layoutDisks(t)
		compareVolumes(t, python, paths)
		for i := range paths {
			compareVolumes(t, python, slices.Delete(slices.Clone(paths), i, i+1))
		}
	})
}

func compareVolumes(t *testing.T, python string, paths []string) {
	t.Helper()
	r := run(t, python, append([]string{peekTool(t)}, paths...)...)
	var peeked peekedDisks
	if err := json.Unmarshal([]byte(r.out), &peeked); err != nil || r.code != 0 || len(peeked.VGs) != 1 {
		t.Fatalf("%v: %v %s", paths, err, r.stderr)
	}
	all := listVolumes(t, paths...)
	theirs, ours := peekedLines(peeked), listedLines(all)
	if diff := gocmp.Diff(theirs, ours); diff != "" {
		t.Errorf("%v (-theirs +ours):\n%s", paths, diff)
	}
	problems := 0
	for _, p := range peeked.VGs[0].Pools {
		if p.Superblock != nil {
			problems += len(p.Problems)
		}
	}
	if len(all["lvm"]) != problems {
		t.Errorf("%v: %d differences, theirs are %d", paths, len(all["lvm"]), problems)
	}
}

// deeper lists types for which the independent reader does not detect all partial volumes: it
// checks neither pools nor logs.
var deeper = map[string]bool{"thin": true, "thin-pool": true, "mirror": true}

// peekedLines lists all facts, one per line.
func peekedLines(p peekedDisks) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, pv := range p.PVs {
		add("disk %s %d %s %d", pv.Where, pv.Start, pv.Label.UUID, pv.Label.Sector)
		for _, a := range pv.Areas {
			add("area of %s: %d %d %d %d %v %v", pv.Label.UUID, a.Offset, a.Size, a.Slots[0].Offset, a.Slots[0].Size, a.Ignored, a.Precommited)
		}
	}
	vg := p.VGs[0]
	add("vg %s %s %d %d %v", vg.Name, vg.UUID, vg.Seqno, vg.ExtentSize, vg.Status)
	for _, pv := range vg.PVs {
		add("pv %s %s %s %d %d %d %v", pv.Name, pv.UUID, pv.Device, pv.Start, pv.Extents, pv.DeviceSize, pv.Region != nil)
	}
	for _, lv := range vg.LVs {
		add("lv %s %s %d %v %v %v %v", lv.Name, lv.UUID, lv.Size, lv.Visible, lv.Complete || deeper[lv.Type], lv.Status, lv.Flags)
		for _, s := range lv.Segments {
			kind := s["type"]
			from, n := s["start_extent"], s["extent_count"]
			for _, key := range []string{"type", "start_extent", "extent_count"} {
				delete(s, key)
			}
			add("segment of %s: %v %v %v %s", lv.Name, from, n, kind, must(json.Marshal(s)))
		}
	}
	for _, p := range vg.Pools {
		add("pool %s %s %s %d %d %s %v %d", p.Name, p.Metadata, p.Data, p.Transaction, p.Chunk*512, cmp.Or(p.Discards, "ignore"), p.Zero != 0, len(p.Messages))
		if sb := p.Superblock; sb != nil {
			add("superblock of %s: %d %d %v %d %d %d", p.Name, sb.Time, sb.Transaction, sb.NeedsCheck, sb.HeldRoot, sb.BlockSize, sb.DataBlocks)
		}
		for _, v := range p.Volumes {
			add("thin %s %s %d %d %q %q %q", p.Name, v.LV, v.DeviceID, v.Transaction, v.Origin, v.ExternalOrigin, v.Merge)
		}
		for _, d := range p.Devices {
			add("device of %s: %d %d %d %d %d", p.Name, d.ID, d.Mapped, d.Transaction, d.CreationTime, d.SnapshottedTime)
		}
	}
	slices.Sort(lines)
	return lines
}

func listedLines(all map[string][]listed) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, pv := range all["pv"] {
		if pv.Image != "" {
			add("disk %s %d %s %d", pv.Image, pv.Start, pv.ID, pv.LabelSector)
		}
		for _, a := range pv.Areas {
			add("area of %s: %d %d %d %d %v %v", pv.ID, a.Offset, a.Size, a.TextOffset, a.TextSize, a.Ignored, a.Interrupted)
		}
		add("pv %s %s %s %d %d %d %v", pv.Name, pv.ID, pv.Device, pv.PEStart, pv.Extents, pv.DeviceSize, pv.Image != "")
	}
	for _, vg := range all["vg"] {
		add("vg %s %s %d %d %v", vg.Name, vg.ID, vg.Seqno, vg.ExtentSize, vg.Status)
	}
	for _, lv := range all["lv"] {
		add("lv %s %s %d %v %v %v %v", lv.Name, lv.ID, lv.Size, lv.Visible, !lv.Partial || deeper[lv.Segtype], lv.Status, lv.Flags)
		for _, s := range lv.Segments {
			add("segment of %s: %v %v %v %s", lv.Name, s.Start, s.Extents, s.Type, must(json.Marshal(s.Keys)))
		}
		if p := lv.ThinPool; p != nil {
			add("pool %s %s %s %d %d %s %v %d", lv.Name, p.Metadata, p.Data, p.TransactionID, p.ChunkSize, p.Discards, p.Zero, len(p.Messages))
			if sb := p.Superblock; sb != nil {
				add("superblock of %s: %d %d %v %d %d %d", lv.Name, sb.Time, sb.Transaction, sb.NeedsCheck, sb.HeldRoot, sb.DataBlockSize, sb.DataBlocks)
			}
		}
		if v := lv.Thin; v != nil {
			add("thin %s %s %d %d %q %q %q", v.Pool, lv.Name, v.DeviceID, v.TransactionID, v.Origin, v.ExternalOrigin, v.Merge)
			if d := v.Device; d != nil {
				add("device of %s: %d %d %d %d %d", v.Pool, d.ID, d.Mapped, d.Transaction, d.CreationTime, d.SnapTime)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// Volumes of all layouts are listed as in lvs, with the pool usage reported by the kernel.
func TestVolumesLayouts(t *testing.T) {
	t.Parallel()
	paths, _ := layoutDisks(t)
	all := listVolumes(t, paths...)
	var want, got []string
	for line := range strings.Lines(string(must(os.ReadFile(filepath.Join(filepath.Dir(paths[0]), "out", "lvs.txt"))))) {
		f := strings.Fields(line) // name, size, type, and finally the devices
		devices := ""
		if last := f[len(f)-1]; strings.Contains(last, "(") {
			devices = last
		}
		want = append(want, strings.Join(append(f[:3:3], devices), " "))
	}
	for _, lv := range all["lv"] {
		name := lv.Name
		if !lv.Visible {
			name = "[" + name + "]"
		}
		for _, s := range lv.Segments {
			var devices []string
			for _, d := range s.Devices {
				if d.PV != "" {
					d.LV = "/dev/vd" + string('a'+d.PV[2]-'0')
				}
				devices = append(devices, fmt.Sprintf("%s(%d)", d.LV, d.Extent))
			}
			got = append(got, fmt.Sprintf("%s %dB %s %s", name, lv.Size, lv.Segtype, strings.Join(devices, ",")))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := gocmp.Diff(want, got); diff != "" || len(got) < 190 {
		t.Errorf("%d segments (-lvs +ours):\n%s", len(got), diff)
	}
	status := string(must(os.ReadFile(filepath.Join(filepath.Dir(paths[0]), "out", "status"))))
	found := regexp.MustCompile(`(?m)^kv-(\w+)-tpool: 0 \d+ thin-pool (\S+ \S+ \S+) `).FindAllStringSubmatch(status, -1)
	for _, m := range found {
		i := slices.IndexFunc(all["lv"], func(lv listed) bool { return lv.Name == m[1] })
		sb := all["lv"][i].ThinPool.Superblock
		if got := fmt.Sprintf("%d %d/%d %d/%d", sb.Transaction, sb.MetadataUsed+sb.MetadataReserved, sb.MetadataBlocks, sb.DataUsed, sb.DataBlocks); got != m[2] {
			t.Errorf("%s: %s, the kernel says %s", m[1], got, m[2])
		}
	}
	if len(found) != 2 {
		t.Errorf("%d pools in the status", len(found))
	}
}

// A removed volume comes back with an old text, unchanged. Percentages match lvs, even when they
// must be rounded from the middle.
func TestKernelOldText(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	dir := t.TempDir()
	disk, text := filepath.Join(dir, "disk.img"), filepath.Join(dir, "text")
	empty(t, disk, 200<<20)
	guest := func(script string, args ...string) string {
		t.Helper()
		path := filepath.Join(dir, "script")
		if err := os.WriteFile(path, []byte("modprobe dm-thin-pool\n"+script), 0o600); err != nil {
			t.Fatal(err)
		}
		r := run(t, runInVM, append(args, "--disk", disk, path)...)
		if r.code != 0 {
			t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
		}
		return r.out
	}
	before := guest(`pvcreate -q /dev/vda && vgcreate -q -s 1m vg /dev/vda || exit 1
lvcreate -q -y -Wn -Zn -n lin -L 9m vg; dd if=/dev/urandom of=/dev/vg/lin bs=1M conv=fsync 2>/dev/null
lvcreate -q -y --type thin-pool -c 64k -L 64m --poolmetadatasize 4m -n p vg
n=0; for size in 32 96 160 800 224; do n=$((n+1))
lvcreate -q -y -V $((size*64))k --thinpool vg/p -n t$n; dd if=/dev/urandom of=/dev/vg/t$n bs=64k count=$n conv=fsync 2>/dev/null
done
lvs --noheadings -o name,data_percent vg | sed 's/^/lvs/'
echo sum $(sha256sum </dev/vg/lin)
lvremove -q -y vg/lin && vgchange -q -an vg
`)
	table := ours(t, "thin_volumes", disk)
	found := regexp.MustCompile(`(?m)^lvs\s+(\w+)\s+(\d+\.\d+)`).FindAllStringSubmatch(before, -1)
	for _, m := range found {
		if !regexp.MustCompile(`(?m)^  ` + m[1] + ` .* ` + regexp.QuoteMeta(m[2]) + `( |$)`).MatchString(table) {
			t.Errorf("lvs says %s of %s:\n%s", m[2], m[1], table)
		}
	}
	if len(found) != 6 {
		t.Errorf("lvs said %q", before)
	}
	if strings.Contains(table, "  lin ") {
		t.Errorf("lin is there:\n%s", table)
	}
	live := listVolumes(t, disk)["vg"][0].Seqno
	old := ours(t, "thin_volumes", "--history", "--seqno", fmt.Sprint(live-1), disk)
	if err := os.WriteFile(text, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	after := guest(`vgcfgrestore --force -f /put/text vg && vgck vg && lvchange -ay vg/lin vg/t1 || exit 1
echo sum $(sha256sum </dev/vg/lin); vgchange -q -an vg`, "--put", text)
	sum := regexp.MustCompile(`(?m)^sum [0-9a-f]{64}`)
	if a, b := sum.FindString(before), sum.FindString(after); a != b || a == "" {
		t.Errorf("lin had %q, and has %q", a, b)
	}
	// LVM has reused the number.
	if history := ours(t, "thin_volumes", "--history", disk); !strings.Contains(history, fmt.Sprintf(" %d.2 ", live)) {
		t.Errorf("there is no text %d.2:\n%s", live, history)
	}
}
