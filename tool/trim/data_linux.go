package trim

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"thinpool/metadata/block"
)

// openData opens path for writing. For a block device, O_EXCL claims it: EBUSY if a pool or a file
// system uses it.
func openData(path string, isDevice bool) (*os.File, error) {
	flags := os.O_RDWR
	if isDevice {
		flags |= unix.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w", path, block.ErrBusy)
	}
	return f, err
}

// Discard implements [Data]: BLKDISCARD on a block device, a hole in a file.
func (d *dataFile) Discard(off, n int64) error {
	off += d.at
	for {
		var err error
		if d.isDevice {
			err = d.blkdiscard(off, n)
		} else {
			err = unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY):
			return fmt.Errorf("%s: %w", d.f.Name(), ErrNoDiscard)
		case err != nil:
			return fmt.Errorf("%s: discard: %w", d.f.Name(), err)
		default:
			return nil
		}
	}
}

func (d *dataFile) blkdiscard(off, n int64) error {
	area := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&area)))
	if errno != 0 {
		return errno
	}
	return nil
}
