package source

import (
	"fmt"
	"strings"

	"thinpool/disk"
	"thinpool/metadata/block"
)

// Occupied refuses to write over dev, at path, if it holds something that is known and is not
// metadata: a file system, a disk with partitions, a part of LVM, LUKS or md, a pack. What is not
// recognised may be damaged metadata. A dump or a compressed file is not refused.
//
// A member of md with its superblock at the end may begin as thin metadata does. It is refused all the
// same: written alone, it would differ from the other members.
func Occupied(path string, dev block.Device) error {
	if sys.isForMetadata(path) {
		return nil
	}
	if disk.IsMember(disk.New(path, block.Unaligned(dev), dev.Size())) {
		return (&signature{what: "part of a RAID array (md)", advice: adviseRAID}).occupied(path)
	}
	start, err := readStart(dev)
	if err != nil {
		return nil // writing will tell
	}
	s := identify(start)
	if s == nil {
		return nil
	}
	switch s.advice {
	case adviseRestore, adviseUnpack, adviseCache, adviseEra:
		return nil
	}
	return s.occupied(path)
}

func (s *signature) occupied(path string) error {
	err := fmt.Errorf("%s: this is %s: nothing was written. Use --force to overwrite it", path, s.what)
	if s.isDisk() {
		return diskError{err}
	}
	return err
}

// occupiedAt is Occupied for what is at path, if anything is.
func occupiedAt(path string) error {
	dev, err := block.Open(path, block.Options{Shared: true})
	if err != nil {
		return nil // there is nothing, or opening it for writing will tell
	}
	defer dev.Close()
	return Occupied(path, dev)
}

// isForMetadata reports whether the device at path is a volume that LVM has made for metadata: that of
// a pool, or the spare one that lvconvert --repair writes to. LVM reserves the names. What such a volume
// holds besides metadata is left over from before LVM made it.
func (s sysfs) isForMetadata(path string) bool {
	dir := s.node(path)
	if !strings.HasPrefix(attribute(dir, "dm/uuid"), "LVM-") {
		return false
	}
	name := dmName(dir)
	return strings.HasSuffix(name, "_pmspare") || strings.HasSuffix(name, "_tmeta")
}
