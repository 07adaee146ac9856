package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/internal/dm"
)

// A madeThin is a made-up pool with a thin device.
type madeThin struct {
	mapper
	tables, statuses map[string][]dm.Target // by number
}

// makeThin creates a pool of LVM with a read-only thin device vg-v, and a disk sda.
func makeThin(t *testing.T) *madeThin {
	t.Helper()
	m := &madeThin{}
	numbers := map[string]string{"sda": "8:0", "vg-pool_tmeta": "253:0", "vg-pool_tdata": "253:1", "vg-pool-tpool": "253:2", "vg-v": "253:4", "origin": "253:5"}
	m.root = t.TempDir()
	m.number = func(path string) (string, bool) {
		n, ok := numbers[filepath.Base(path)]
		return n, ok
	}
	for name, number := range numbers {
		dir := filepath.Join(m.root, "devices", name)
		if err := errors.Join(
			os.MkdirAll(filepath.Join(dir, "dm"), 0o700), os.MkdirAll(filepath.Join(m.root, "dev", "block"), 0o700),
			os.Symlink(dir, filepath.Join(m.root, "dev", "block", number)),
			os.WriteFile(filepath.Join(dir, "ro"), []byte("1\n"), 0o600),
			os.WriteFile(filepath.Join(dir, "dm", "name"), []byte(name+"\n"), 0o600),
		); err != nil {
			t.Fatal(err)
		}
	}
	m.tables = map[string][]dm.Target{
		"253:4": {{Len: 8192, Type: "thin", Params: "253:2 7"}},
		"253:2": {{Len: 1 << 20, Type: "thin-pool", Params: "253:0 253:1 128 0 0 "}},
		"253:1": {{Len: 1 << 20, Type: "linear", Params: "8:0 2048"}},
	}
	m.statuses = map[string][]dm.Target{
		"253:2": {{Len: 1 << 20, Type: "thin-pool", Params: "1 14/1024 9/8192 42 rw no_discard_passdown queue_if_no_space - 1024"}},
	}
	from := func(all map[string][]dm.Target) func(dm.Number) ([]dm.Target, error) {
		return func(n dm.Number) ([]dm.Target, error) {
			if targets, ok := all[n.String()]; ok {
				return targets, nil
			}
			return nil, dm.ErrNotMapped
		}
	}
	m.table, m.status = from(m.tables), from(m.statuses)
	return m
}

func TestThin(t *testing.T) {
	m := makeThin(t)
	got, err := m.thin("/dev/vg-v")
	if err != nil {
		t.Fatal(err)
	}
	is := fmt.Sprintln(got.ID, got.Size, got.Pool, got.Metadata, got.Data, got.Origin == "", got.Snapshot)
	want := fmt.Sprintln(7, 4<<20, "vg-pool-tpool", "/dev/mapper/vg-pool_tmeta", "/dev/mapper/vg-pool_tdata", true, 42)
	if is != want {
		t.Errorf("%s, want %s", is, want)
	}
	for path, used := range map[string]bool{"/dev/vg-v": true, "/dev/vg-pool_tdata": true, "/dev/vg-pool_tmeta": true, "/dev/sda": false, "file": false} {
		if got.Uses(path) != used {
			t.Errorf("%s is used: %v", path, !used)
		}
	}
	m.tables["253:4"][0].Params = "253:2 7 253:5"
	if got, err = m.thin("/dev/vg-v"); err != nil || got.Origin != "/dev/mapper/origin" || !got.Uses("/dev/origin") {
		t.Errorf("the external origin is %q (%v)", got.Origin, err)
	}
}

// FindThin refuses a device that cannot be copied, and says why and what to do.
func TestThinRefuses(t *testing.T) {
	for _, c := range []struct {
		name, path string
		change     func(*madeThin)
		want       string
	}{
		{"a file", "/tmp/file", nil, "not an active thin device"},
		{"a disk", "/dev/sda", nil, "not an active thin device"},
		{"a linear device", "/dev/vg-pool_tdata", nil, `it consists of ["linear"]`},
		{"several targets", "/dev/vg-v", func(m *madeThin) { m.tables["253:4"] = append(m.tables["253:4"], dm.Target{Type: "error"}) }, `it consists of ["thin" "error"]`},
		{"a table cut short", "/dev/vg-v", func(m *madeThin) { m.tables["253:4"][0].Params = "253:2" }, `its table is ["253:2"]`},
		{"an id that is none", "/dev/vg-v", func(m *madeThin) { m.tables["253:4"][0].Params = "253:2 x" }, "x"},
		{"writable", "/dev/vg-v", func(m *madeThin) {
			if err := os.WriteFile(filepath.Join(m.root, "devices", "vg-v", "ro"), []byte("0\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "the device is writable"},
		{"no pool", "/dev/vg-v", func(m *madeThin) { m.tables["253:4"][0].Params = "253:99 7" }, "there is no device 253:99"},
		{"a pool that is none", "/dev/vg-v", func(m *madeThin) { m.tables["253:4"][0].Params = "253:1 7" }, `it consists of ["linear"]`},
		{"a pool that failed", "/dev/vg-v", func(m *madeThin) { m.statuses["253:2"][0].Params = "Fail" }, `its status is "Fail"`},
		{"no metadata snapshot", "/dev/vg-v", func(m *madeThin) { m.statuses["253:2"][0].Params = "1 14/1024 9/8192 - rw" }, "\n  dmsetup message vg-pool-tpool 0 reserve_metadata_snap\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := makeThin(t)
			if c.change != nil {
				c.change(m)
			}
			if got, err := m.thin(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v, want %q", got, err, c.want)
			}
		})
	}
}
