package block

import (
	"errors"
	"os"
)

// A Claimed device is open for reading and may be written later. Nothing else can write to it in
// between: a block device is opened exclusively, a regular file is locked.
type Claimed struct {
	file
	path     string
	isDevice bool
	writable *os.File // a regular file already open for writing
}

// Claim opens the regular file or block device at path. It opens a block device read-only, as some
// systems probe a device whenever it was open for writing. A file that cannot be opened for
// writing is also opened read-only; AllowWriting then returns the error.
func Claim(path string) (*Claimed, error) {
	f, isDevice, err := openBlocks(path, Options{})
	if err != nil {
		return nil, err
	}
	c := &Claimed{path: path, isDevice: isDevice}
	if !isDevice {
		if f, c.writable, err = lockForWriting(f, path); err != nil {
			return nil, err
		}
	}
	size, err := sizeOf(f)
	if err != nil {
		return nil, err
	}
	c.file = file{f: f, size: size}
	return c, nil
}

// lockForWriting locks the regular file at path, which is open as f. If it is writable, both
// results are the file opened for writing.
func lockForWriting(f *os.File, path string) (opened, writable *os.File, err error) {
	lock := LockShared
	if w, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		f.Close()
		f, writable, lock = w, w, Lock
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, writable, nil
}

// AllowWriting makes the device writable.
func (c *Claimed) AllowWriting() error {
	if c.w != nil {
		return nil
	}
	if c.w = c.writable; c.w == nil {
		w, err := openFile(c.path, Options{Write: true, Shared: true}, c.isDevice)
		if err != nil {
			return err
		}
		c.w = w
	}
	return nil
}

// Close closes the device.
func (c *Claimed) Close() error {
	err := c.f.Close()
	if c.w != nil && c.w != c.f {
		err = errors.Join(err, c.w.Close())
	}
	return err
}
