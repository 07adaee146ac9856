package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/fixtures"
)

// sharedXML describes devices 1 and up that all map data block 0 with time 0. None was ever
// snapshotted, so the kernel does not treat these mappings as shared.
func sharedXML(devices int) string {
	var s strings.Builder
	s.WriteString(`<superblock uuid="" time="0" transaction="1" version="2" data_block_size="128" nr_data_blocks="1000">` + "\n")
	for id := range devices {
		fmt.Fprintf(&s, `  <device dev_id="%d" mapped_blocks="1" transaction="0" creation_time="0" snap_time="0">
    <single_mapping origin_block="0" data_block="0" time="0"/>
  </device>
`, id+1)
	}
	s.WriteString("</superblock>\n")
	return s.String()
}

// writable returns metadata of such devices: from thin_restore 0.9 and sharedXML, and forged.
func writable(t *testing.T, devices int) map[string]string {
	t.Helper()
	dir := t.TempDir()
	made := map[string]string{"forged": filepath.Join(dir, "forged")}
	if err := os.WriteFile(made["forged"], fixtures.Writable(t, devices, false).Contents(), 0o600); err != nil {
		t.Fatal(err)
	}
	const restore = "/usr/sbin/thin_restore"
	if _, err := os.Stat(restore); err != nil {
		t.Logf("thin_restore 0.9 is not installed (apt-get install thin-provisioning-tools): forged metadata only")
		return made
	}
	if v := run(t, restore, "-V"); !strings.HasPrefix(v.out, "0.9.") {
		t.Logf("%s is not 0.9: forged metadata only", restore)
		return made
	}
	xml, path := filepath.Join(dir, "xml"), filepath.Join(dir, "restored")
	if err := os.WriteFile(xml, []byte(sharedXML(devices)), 0o600); err != nil {
		t.Fatal(err)
	}
	empty(t, path, 8<<20)
	if r := run(t, restore, "-i", xml, "-o", path); r.code != 0 {
		t.Fatalf("thin_restore 0.9: exit code %d\n%s", r.code, r.stderr)
	}
	made["thin_restore 0.9"] = path
	return made
}

// Devices that would write to a block mapped by others do not keep a pool from being activated.
// --auto-repair removes the hazard in place, and can be undone.
func TestWritable(t *testing.T) {
	t.Parallel()
	many(t)
	for _, devices := range []int{12, 450} {
		for name, path := range writable(t, devices) {
			t.Run(fmt.Sprintf("%d/%s", devices, name), func(t *testing.T) {
				before := must(os.ReadFile(path))
				ours(t, "thin_check", "-q", path)
				if r := run(t, filepath.Join(tools, "thin_check"), "-q", "--strict", path); r.code != 1 {
					t.Errorf("--strict: exit code %d, want 1", r.code)
				}
				mappings := withoutTimes(ours(t, "thin_dump", path))
				undo := filepath.Join(t.TempDir(), "undo")
				ours(t, "thin_check", "-q", "--auto-repair", "--undo", undo, path)
				ours(t, "thin_check", "--strict", path)
				verify(t, path)
				if got := withoutTimes(ours(t, "thin_dump", path)); got != mappings {
					t.Error("the mappings are others than before")
				}
				ours(t, "thin_check", "-q", "--apply-undo", undo, path)
				if !bytes.Equal(before, must(os.ReadFile(path))) {
					t.Error("--apply-undo does not restore what was there")
				}
				// How LVM calls it in many distributions.
				ours(t, "thin_check", "-q", "--clear-needs-check-flag", path)
				ours(t, "thin_check", "--strict", path)
			})
		}
	}
}

// Metadata restored from such a description has no such hazard, and thin_restore says what it
// changed.
func TestWritableRestored(t *testing.T) {
	t.Parallel()
	many(t)
	for _, devices := range []int{12, 450} {
		dir := t.TempDir()
		xml, made := filepath.Join(dir, "xml"), filepath.Join(dir, "made")
		if err := os.WriteFile(xml, []byte(sharedXML(devices)), 0o600); err != nil {
			t.Fatal(err)
		}
		empty(t, made, 8<<20)
		r := run(t, filepath.Join(tools, "thin_restore"), "-v", "-i", xml, "-o", made)
		if want := fmt.Sprintf("%d devices would have overwritten shared data blocks; their snapshotted_time is now 1", devices); r.code != 0 || strings.Count(r.stderr, want) != 1 {
			t.Errorf("%d devices: exit code %d\n%s", devices, r.code, r.stderr)
		}
		ours(t, "thin_check", "--strict", made)
		verify(t, made)
		again := ours(t, "thin_dump", made)
		if got := ours(t, "thin_dump", restore(t, again, 8<<20)); got != again {
			t.Errorf("%d devices: restored once more it is something else", devices)
		}
	}
}

// withoutTimes removes the times that a repair raises from a dump.
func withoutTimes(dump string) string {
	lines := strings.Split(dump, "\n")
	for i, line := range lines {
		if at := strings.Index(line, ` snap_time="`); at >= 0 {
			lines[i] = line[:at]
		}
	}
	return strings.Join(lines[1:], "\n")
}

// The kernel accepts such metadata and writes to the shared block in place. After --auto-repair, it
// copies the block first.
func TestKernelWritable(t *testing.T) {
	t.Parallel()
	needKernel(t, activate)
	for name, path := range writable(t, 12) {
		if !sampled(name, "forged") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if r := run(t, activate, path); r.code != 0 {
				t.Errorf("not activated: exit code %d\n%s%s", r.code, r.out, r.stderr)
			}
			if one, two := written(t, path); one != "0" || two != "0" {
				t.Errorf("device 1 maps data block %s, device 2 %s: the kernel writes in place, that is the hazard", one, two)
			}
			repaired := copyOf(t, path)
			ours(t, "thin_check", "-q", "--auto-repair", repaired)
			accepted(t, repaired)
			if one, two := written(t, repaired); one == "0" || two != "0" {
				t.Errorf("after --auto-repair device 1 maps data block %s, device 2 %s; want a copy, and 0", one, two)
			}
		})
	}
}

// written lets the kernel write to thin block 0 of device 1, and returns where devices 1 and 2 map
// that block afterwards.
func written(t *testing.T, path string) (one, two string) {
	t.Helper()
	disk, script := copyOf(t, path), filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(`set -e
. /lib/vm.sh
mkzero data 128000
mkpool /dev/vda /dev/mapper/data 128 0 skip_block_zeroing error_if_no_space
thin 1 1280
vmio seq /dev/mapper/t1 0 1 128
rmall
`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, runInVM, "--disk", disk, script); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	at := func(id string) string {
		_, rest, _ := strings.Cut(ours(t, "thin_dump", "--dev-id", id, disk), `data_block="`)
		block, _, _ := strings.Cut(rest, `"`)
		return block
	}
	return at("1"), at("2")
}
