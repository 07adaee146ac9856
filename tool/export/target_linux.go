package export

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"thinpool/metadata/block"
)

// openExclusively claims a block device. It gets EBUSY if the device is in use.
func openExclusively(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w", path, block.ErrBusy)
	}
	return f, err
}

// forget drops the cached pages of f.
func forget(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// nextData asks the file system for holes. Without support, data is assumed everywhere.
func nextData(f *os.File, off int64) int64 {
	next, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // only a hole remains
		const end = 1<<63 - 1
		return end
	case err != nil:
		return off
	}
	return next
}

// zeroOut lets a block device write zeros itself. It returns false if that is not supported.
func zeroOut(f *os.File, off, n int64) bool {
	area := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&area)))
	return errno == 0
}

// discard tells a block device that n bytes from off on are not needed. It returns false if that is
// not supported.
func discard(f *os.File, off, n int64) bool {
	area := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&area)))
	return errno == 0
}

// punchHole punches a hole in a file or a block device, so that it reads as zeros. It returns false
// if that is not supported.
func punchHole(f *os.File, off, n int64) bool {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n) == nil
}
