package dm

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const control = "/dev/mapper/control"

// Table returns the table of a device.
func Table(n Number) ([]Target, error) { return ask(n, unix.DM_STATUS_TABLE_FLAG) }

// Status returns the status of a device's targets. Asking a pool makes it commit its metadata first.
func Status(n Number) ([]Target, error) { return ask(n, 0) }

// mostAnswer is far larger than the table of a pool or of a thin device.
const mostAnswer = 1 << 20

func ask(n Number, flags uint32) ([]Target, error) {
	f, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const head = unsafe.Sizeof(unix.DmIoctl{})
	for size := uintptr(1 << 14); size <= mostAnswer; size *= 2 {
		buf := make([]uint64, size/8) // aligned like the kernel's structures
		call := (*unix.DmIoctl)(unsafe.Pointer(&buf[0]))
		*call = unix.DmIoctl{
			Version: [3]uint32{unix.DM_VERSION_MAJOR}, Data_size: uint32(size), Data_start: uint32(head),
			Flags: flags, Dev: unix.Mkdev(n.Major, n.Minor),
		}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.DM_TABLE_STATUS, uintptr(unsafe.Pointer(call)))
		switch {
		case errors.Is(errno, unix.ENXIO):
			return nil, ErrNotMapped
		case errno != 0:
			return nil, fmt.Errorf("device-mapper: %v: %w", n, errno)
		case call.Flags&unix.DM_BUFFER_FULL_FLAG != 0:
			continue
		}
		answer := unsafe.Slice((*byte)(unsafe.Pointer(&buf[0])), size)
		if uint64(call.Data_start) > uint64(size) {
			return nil, errAnswer
		}
		return decode(answer[call.Data_start:min(uint64(call.Data_size), uint64(size))], call.Target_count)
	}
	return nil, errAnswer
}
