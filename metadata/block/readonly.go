package block

import "io"

// readOnly is a device over a reader.
type readOnly struct {
	io.ReaderAt
	size int64
}

// ReadOnly returns a device that reads size bytes from r. Closing it closes r, if r is an
// [io.Closer].
func ReadOnly(r io.ReaderAt, size int64) Device { return readOnly{r, size} }

func (d readOnly) WriteAt([]byte, int64) (int, error) { return 0, ErrReadOnly }
func (d readOnly) Flush() error                       { return nil }
func (d readOnly) Size() int64                        { return d.size }

func (d readOnly) Close() error {
	if c, ok := d.ReaderAt.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
