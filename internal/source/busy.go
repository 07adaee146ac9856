package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"thinpool/internal/printable"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// A sysfs is where the kernel shows its block devices.
type sysfs struct {
	root   string
	number func(path string) (majorMinor string, ok bool) // major and minor number of a block device
}

var sys = sysfs{"/sys", deviceNumber}

// node returns the folder of the block device at path; "" if there is none.
func (s sysfs) node(path string) string {
	number, ok := s.number(path)
	if !ok {
		return ""
	}
	dir := filepath.Join(s.root, "dev", "block", number)
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// related returns the folders of the devices that use the one at dir ("holders"), or that it uses
// ("slaves"); none if dir is "".
func related(dir, how string) []string {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(filepath.Join(dir, how))
	if err != nil {
		return nil
	}
	var dirs []string
	for _, e := range entries {
		dirs = append(dirs, filepath.Join(dir, how, e.Name()))
	}
	return dirs
}

// dmName returns device-mapper's name for the device at dir; "" if it is not a device-mapper
// device.
func dmName(dir string) string { return attribute(dir, "dm/name") }

func attribute(dir, name string) string {
	if dir == "" {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return printable.Text(strings.TrimSuffix(string(text), "\n")) // the kernel allows any characters in names
}

// devicePath returns the path of the device at dir.
func devicePath(dir string) string {
	if name := dmName(dir); name != "" {
		return "/dev/mapper/" + name
	}
	return "/dev/" + filepath.Base(dir)
}

// isPool reports whether the device at dir looks like a pool. LVM marks its pools; others have at
// least two devices below them, metadata and data.
func isPool(dir string) bool {
	if uuid := attribute(dir, "dm/uuid"); strings.HasPrefix(uuid, "LVM-") {
		return strings.HasSuffix(uuid, "-tpool")
	}
	return dmName(dir) != "" && len(related(dir, "slaves")) > 1
}

// poolOn returns the folder of the pool that uses the device at dir; "" if unknown.
func poolOn(dir string) string {
	holders := related(dir, "holders")
	if i := slices.IndexFunc(holders, isPool); i >= 0 {
		return holders[i]
	}
	return ""
}

// users returns the names of the devices that use the one at dir.
func users(dir string) string {
	var names []string
	for _, holder := range related(dir, "holders") {
		names = append(names, devicePath(holder))
	}
	return strings.Join(names, ", ")
}

func message(pool, text string) string {
	return fmt.Sprintf("\n  dmsetup message %s 0 %s", printable.Shell(pool), text)
}

const (
	reserve  = "reserve_metadata_snap"
	release  = "release_metadata_snap"
	andAgain = "\n  (this command again, with -m)"
)

// busyReading adds to err the user of the device at path, and how to read the metadata of a pool in
// use. If the device does not contain metadata, it says what the device is instead.
func (s sysfs) busyReading(path string, err error) error {
	dir := s.node(path)
	sb, what := superblockOf(path)
	if what != nil {
		return fmt.Errorf("%w, and %w", err, what)
	}
	pool := poolOn(dir)
	name := dmName(pool)
	switch {
	case pool != "" && sb == nil:
		others := slices.DeleteFunc(related(pool, "slaves"), func(slave string) bool { return devicePath(slave) == devicePath(canonical(dir)) })
		var paths []string
		for _, o := range others {
			paths = append(paths, devicePath(o))
		}
		return fmt.Errorf("%w by the pool %s and has no metadata superblock: is it the data device? The pool also uses %s", err, name, strings.Join(paths, ", "))
	case pool != "" && sb.HeldRoot != 0:
		return fmt.Errorf("%w by the pool %s, which has a metadata snapshot in block %d. Read the snapshot with -m, or deactivate the pool. If nothing else needs the snapshot, release it afterwards:%s",
			err, name, sb.HeldRoot, message(name, release))
	case pool == "" && users(dir) != "":
		return fmt.Errorf("%w by %s. Deactivate it first", err, users(dir))
	case pool == "":
		name = guessPool(path)
	}
	by := "; a pool may be using it"
	if pool != "" {
		by = " by the pool " + name
	}
	return fmt.Errorf("%w%s. Deactivate it, or read a metadata snapshot:%s%s%s", err, by, message(name, reserve), andAgain, message(name, release))
}

// busyOtherwise adds to err the user of the device or file at path. A metadata snapshot would not help
// here.
func (s sysfs) busyOtherwise(path string, err error) error {
	if errors.Is(err, block.ErrLocked) {
		return busyFile(path, err)
	}
	dir := s.node(path)
	switch pool := poolOn(dir); {
	case pool != "":
		return fmt.Errorf("%w by the pool %s. Deactivate the pool first", err, dmName(pool))
	case users(dir) != "":
		return fmt.Errorf("%w by %s. Deactivate it first", err, users(dir))
	}
	return fmt.Errorf("%w: it may be part of a pool, or mounted. Deactivate the pool or unmount it first", err)
}

// busyFile adds to err the process that has locked the file at path.
func busyFile(path string, err error) error {
	who := strings.Join(lockers(path), ", ")
	if who == "" {
		who = "another process, such as a virtual machine"
	}
	return fmt.Errorf("%w by %s. Wait for it to finish, or stop it", err, who)
}

// guessPool returns LVM's usual name for the pool whose metadata is at path.
func guessPool(path string) string {
	if base, ok := strings.CutSuffix(filepath.Base(path), "_tmeta"); ok {
		return base + "-tpool"
	}
	return "POOL"
}

// canonical resolves symbolic links in dir.
func canonical(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// superblockOf reads the superblock of a device in use; nil if there is none. The error says what
// the device is instead, if known.
func superblockOf(path string) (*metadata.Superblock, error) {
	dev, err := block.Open(path, block.Options{Shared: true})
	if err != nil {
		return nil, nil
	}
	defer dev.Close()
	if err := Recognise(dev); err != nil {
		return nil, err
	}
	var b block.Data
	if block.Read(dev, metadata.SuperblockLocation, &b) != nil {
		return nil, nil
	}
	sb, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, &b)
	if err != nil {
		return nil, nil
	}
	return &sb, nil
}

// Busy adds the user of the device at path to an error about a busy device.
func Busy(path string, err error) error { return sys.busyOtherwise(path, err) }

// SnapshotAdvice says how to reserve a metadata snapshot in the pool that uses the device at path,
// or that none is needed.
func SnapshotAdvice(path string) string { return sys.snapshotAdvice(path) }

func (s sysfs) snapshotAdvice(path string) string {
	dir := s.node(path)
	pool := poolOn(dir)
	_, device := s.number(path)
	switch {
	case dir == "" && device:
		return "if no pool uses it, read it without -m; otherwise reserve a snapshot and release it afterwards:" + message("POOL", reserve) + andAgain + message("POOL", release)
	case dir == "":
		return "this is a file and not in use by a pool, so read it without -m"
	case pool == "":
		return "no pool uses it now, so read it without -m"
	}
	name := dmName(pool)
	return "reserve one, and release it afterwards:" + message(name, reserve) + andAgain + message(name, release)
}
