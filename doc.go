// Package thinpool is the root of Go packages for the metadata of dm-thin pools, as LVM thin
// pools have it, and of the tools that are made of them (thin_check, thin_repair and others).
// It has no code of its own.
//
// A device, a file or a buffer is a block.Device. metadata.Open finds a pool on it. What goes
// through a whole pool is in packages of its own, and hands on faults, calls of a
// metadata.Visitor, or rows; see the example. Nothing needs root, a kernel or LVM.
//
// These packages are promised: from 1.0 on they change only in ways that keep programs
// compiling and working.
//
//   - metadata: the superblock, devices and mappings of a pool; Visitor
//   - metadata/block: devices, blocks and their checksums
//   - metadata/volume: the content of thin devices
//   - xmlfmt, jsonfmt: dumps as text, to a Visitor and from one
//   - lvm: volume groups and logical volumes on disks and in images of disks; of package
//     disk, the types and functions that it takes: disk.Disk, disk.Open, disk.New, disk.Options
//   - tool/check: what is wrong with a pool, and repairs in place
//   - tool/repair: what can still be read of damaged metadata
//   - tool/dump: the content of a pool to a Visitor
//   - tool/delta: in what two devices differ
//
// All other packages may change, and say so in their first sentence.
package thinpool
