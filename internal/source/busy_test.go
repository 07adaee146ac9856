package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// shown is a device in a fake sysfs: its device-mapper name and uuid, and the devices below it.
type shown struct {
	dm, uuid string
	slaves   []string
}

// makeSysfs creates a fake sysfs with devices, by kernel name. A path refers to the device with the
// same base name.
func makeSysfs(t *testing.T, devices map[string]shown) sysfs {
	t.Helper()
	s := sysfs{t.TempDir(), func(path string) (string, bool) {
		_, ok := devices[filepath.Base(path)]
		return "number of " + filepath.Base(path), ok
	}}
	at := func(parts ...string) string { return filepath.Join(append([]string{s.root}, parts...)...) }
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range devices {
		check(os.MkdirAll(at("devices", name, "holders"), 0o700))
		check(os.MkdirAll(at("devices", name, "slaves"), 0o700))
		check(os.MkdirAll(at("dev", "block"), 0o700))
		check(os.Symlink(at("devices", name), at("dev", "block", "number of "+name)))
	}
	for name, d := range devices {
		if d.dm != "" {
			check(os.Mkdir(at("devices", name, "dm"), 0o700))
			check(os.WriteFile(at("devices", name, "dm", "name"), []byte(d.dm+"\n"), 0o600))
			check(os.WriteFile(at("devices", name, "dm", "uuid"), []byte(d.uuid+"\n"), 0o600))
		}
		for _, slave := range d.slaves {
			check(os.Symlink(at("devices", slave), at("devices", name, "slaves", slave)))
			check(os.Symlink(at("devices", name), at("devices", slave, "holders", name)))
		}
	}
	return s
}

// Messages about busy devices use the names that dmsetup and LVM use.
func TestBusy(t *testing.T) {
	held := func() []byte {
		var b block.Data
		sb := metadata.Superblock{Magic: metadata.Magic, Version: 2, DataBlockSize: 128, HeldRoot: 77}
		sb.Encode(&b)
		return append(b[:], make([]byte, 9*block.Size)...)
	}
	lvm := map[string]shown{
		"dm-0": {dm: "vg-pool_tmeta", uuid: "LVM-x-tmeta"}, "dm-1": {dm: "vg-pool_tdata", uuid: "LVM-x-tdata"},
		"dm-2": {dm: "vg-pool-tpool", uuid: "LVM-x-tpool", slaves: []string{"dm-0", "dm-1"}},
		"dm-3": {dm: "vg-pool", uuid: "LVM-x", slaves: []string{"dm-2"}},
	}
	plain := map[string]shown{"vda": {}, "vdb": {}, "dm-0": {dm: "my pool", slaves: []string{"vda", "vdb"}}}
	raid := map[string]shown{"sda": {}, "sdb": {}, "md0": {slaves: []string{"sda", "sdb"}}}
	mapped := map[string]shown{"sda": {}, "dm-0": {dm: "crypt", slaves: []string{"sda"}}}
	mirror := map[string]shown{
		"dm-0": {dm: "vg-pool_tmeta_rimage_0", uuid: "LVM-y"}, "dm-1": {dm: "vg-pool_tmeta_rimage_1", uuid: "LVM-z"},
		"dm-2": {dm: "vg-pool_tmeta", uuid: "LVM-x-tmeta", slaves: []string{"dm-0", "dm-1"}},
	}
	for _, c := range []struct {
		name    string
		devices map[string]shown
		device  string
		content []byte
		want    string // without the path
	}{
		{"LVM", lvm, "dm-0", superblock(), `device is in use by the pool vg-pool-tpool. Deactivate it, or read a metadata snapshot:
  dmsetup message vg-pool-tpool 0 reserve_metadata_snap
  (this command again, with -m)
  dmsetup message vg-pool-tpool 0 release_metadata_snap`},
		{"a snapshot is held", lvm, "dm-0", held(), `device is in use by the pool vg-pool-tpool, which has a metadata snapshot in block 77. Read the snapshot with -m, or deactivate the pool. If nothing else needs the snapshot, release it afterwards:
  dmsetup message vg-pool-tpool 0 release_metadata_snap`},
		{"the data", lvm, "dm-1", image(nil), `device is in use by the pool vg-pool-tpool and has no metadata superblock: is it the data device? The pool also uses /dev/mapper/vg-pool_tmeta`},
		{"the pool itself", lvm, "dm-2", image(nil), `device is in use by /dev/mapper/vg-pool. Deactivate it first`},
		{"dmsetup", plain, "vda", superblock(), `device is in use by the pool my pool. Deactivate it, or read a metadata snapshot:
  dmsetup message 'my pool' 0 reserve_metadata_snap
  (this command again, with -m)
  dmsetup message 'my pool' 0 release_metadata_snap`},
		{"data of dmsetup", plain, "vdb", image(nil), `device is in use by the pool my pool and has no metadata superblock: is it the data device? The pool also uses /dev/vda`},
		{"RAID", raid, "sda", superblock(), `device is in use by /dev/md0. Deactivate it first`},
		{"encrypted", mapped, "sda", superblock(), `device is in use by /dev/mapper/crypt. Deactivate it first`},
		{"mirror", mirror, "dm-0", superblock(), `device is in use by /dev/mapper/vg-pool_tmeta. Deactivate it first`},
		{"something else", lvm, "dm-1", image(map[int]string{0: "XFSB"}), `device is in use, and this is an XFS file system, not thin metadata: ` + adviseTmeta},
		{"no user is known", nil, "vg-pool_tmeta", superblock(), `device is in use; a pool may be using it. Deactivate it, or read a metadata snapshot:
  dmsetup message vg-pool-tpool 0 reserve_metadata_snap
  (this command again, with -m)
  dmsetup message vg-pool-tpool 0 release_metadata_snap`},
		{"no name is known", nil, "sda", superblock(), `device is in use; a pool may be using it. Deactivate it, or read a metadata snapshot:
  dmsetup message POOL 0 reserve_metadata_snap
  (this command again, with -m)
  dmsetup message POOL 0 release_metadata_snap`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.device)
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			s := makeSysfs(t, c.devices)
			t.Chdir(filepath.Join(makeSysfs(t, lvm).root, "devices", "dm-0")) // must not be looked at
			err := s.busyReading(path, fmt.Errorf("%s: %w", path, block.ErrBusy))
			if !errors.Is(err, block.ErrBusy) || err.Error() != path+": "+c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			// If a snapshot does not help, none is suggested.
			err = s.busyOtherwise(path, fmt.Errorf("%s: %w", path, block.ErrBusy))
			if !errors.Is(err, block.ErrBusy) || strings.Contains(err.Error(), "message") || !strings.Contains(err.Error(), ". Deactivate ") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSnapshotAdvice(t *testing.T) {
	s := makeSysfs(t, map[string]shown{"vda": {}, "vdb": {}, "vdc": {}, "dm-0": {dm: "pool", slaves: []string{"vda", "vdb"}}})
	for path, want := range map[string]string{
		"/dev/vda": `reserve one, and release it afterwards:
  dmsetup message pool 0 reserve_metadata_snap
  (this command again, with -m)
  dmsetup message pool 0 release_metadata_snap`,
		"/dev/vdc": "no pool uses it now, so read it without -m",
		"a file":   "this is a file and not in use by a pool, so read it without -m",
	} {
		if got := s.snapshotAdvice(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
