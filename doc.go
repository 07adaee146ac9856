// Package thinpool is the root of Go packages for the metadata of dm-thin pools, including LVM
// thin pools, and for the tools built on them (thin_check, thin_repair and others). It has no code
// of its own.
//
// A device, a file or a buffer is a block.Device. metadata.Open finds a pool on it. Operations on
// whole pools are in packages of their own; their results are faults, calls of a metadata.Visitor,
// or rows; see the example. Nothing needs root, a kernel or LVM.
//
// These packages are promised: from 1.0 on, they only change in ways that keep programs compiling
// and working.
//
//   - metadata: the superblock, devices and mappings of a pool; Visitor
//   - metadata/block: devices, blocks and their checksums
//   - metadata/volume: the content of thin devices
//   - xmlfmt, jsonfmt: dumps as text, to and from a Visitor
//   - lvm: volume groups and logical volumes on disks and in disk images; from package disk, the
//     types and functions that it uses: disk.Disk, disk.Open, disk.New, disk.Options
//   - tool/check: faults in metadata, and repairs in place
//   - tool/repair: what can still be read from damaged metadata
//   - tool/dump: the content of a pool to a Visitor
//   - tool/delta: the differences between two devices
//
// All other packages may change, and say so in their first sentence.
package thinpool
