// Package lvm reads LVM2 without LVM and without a kernel: from disk images to volume groups,
// to logical volumes, to their bytes.
//
//	image > partition > label > PV header > metadata area > text > Group
//	Group: Volume > Segments > (PhysicalVolume, extent) or (Volume, extent) > bytes
//
// [OpenImage] opens images, [Scan] finds what they hold, [Group.Open] reads a volume, and
// [Set.History] lists what the texts of a group were before. [Group.OpenWritable] is apart: what
// reads cannot write. Thin volumes are read through their pool, which is not the business of
// this package; [ThinPool] and [Thin] say which volumes and devices belong together.
//
// A sector is 512 bytes, whatever the disk has. Integers on disk are little-endian.
//
// A volume is a tree of sources: joints of segments, sets of stripes, mirrors, sets with parity, and
// ranges of disks as leaves. Each reads bytes by asking those below it. A missing disk, or an
// image of a RAID set that is not in sync, is a leaf whose every read fails. Mirrors and parity read
// around it. If none can, the error names volume, physical volume and byte. Trees are made once
// for each volume and bounded in depth, so that a text cannot make reading expensive.
//
// A qcow2 image may name a file that it is based on. This package opens that file itself, in the
// folder of the image only, and hands open files to the decoder.
package lvm
