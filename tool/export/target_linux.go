package export

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"thinpool/metadata/block"
)

// openExclusively claims a block device: EBUSY if something else has it.
func openExclusively(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%s: %w", path, block.ErrBusy)
	}
	return f, err
}

// forget drops the pages that the system has of f.
func forget(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// nextData asks the file system for holes; one that knows none has data everywhere.
func nextData(f *os.File, off int64) int64 {
	next, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // only a hole is left
		const end = 1<<63 - 1
		return end
	case err != nil:
		return off
	}
	return next
}

// zeroOut has a block device make zeros, in ways of its own; false if it cannot.
func zeroOut(f *os.File, off, n int64) bool {
	area := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&area)))
	return errno == 0
}

// discard tells a block device that n bytes from off on are not needed; false if it does not take that.
func discard(f *os.File, off, n int64) bool {
	area := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKDISCARD, uintptr(unsafe.Pointer(&area)))
	return errno == 0
}

// punchHole makes a hole in a file or a block device, so that it reads as zeros there; false if it cannot.
func punchHole(f *os.File, off, n int64) bool {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n) == nil
}
