// Package lvm reads LVM2 without LVM and without a kernel: from disk images to volume groups, to
// logical volumes, to their data.
//
//	disk > label > PV header > metadata area > text > Group
//	Group: Volume > Segments > (PhysicalVolume, extent) or (Volume, extent) > bytes
//
// Package disk opens images. [Scan] finds what they contain, [Group.Open] reads a volume, and
// [Set.History] lists old versions of a group's text. [Group.OpenWritable] is separate: readers
// cannot write. Thin volumes are read through their pool, outside this package; [ThinPool] and
// [Thin] say which volumes and devices belong together.
//
// A sector is 512 bytes, whatever the disk's sector size. Integers on disk are little-endian.
//
// A volume is a tree of sources: concatenated segments, stripe sets, mirrors, parity sets, and
// ranges of disks as leaves. Each source reads from those below it. A missing disk, or a RAID image
// that is out of sync, is a leaf whose reads always fail. Mirrors and parity read around it. If
// none can, the error names the volume, the physical volume and the byte. Each volume's tree is
// built once and its depth is limited, so a text cannot make reads expensive.
//
// A qcow2 image may name a backing file. This package opens that file itself, only in the folder of
// the image, and passes open files to the decoder.
package lvm

import "thinpool/metadata/block"

// sector is the unit of all sizes in LVM's text that are not in bytes or extents, whatever the
// disk's sector size.
const sector = block.SectorSize
