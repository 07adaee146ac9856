//go:build unix

package disk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Numbers of the network block device protocol, big-endian: in the handshake, ...
const (
	nbdMagic    = 0x4e42444d41474943 // NBDMAGIC
	nbdHaveOpt  = 0x49484156454f5054 // IHAVEOPT
	nbdReply    = 0x3e889045565a9
	nbdNewstyle = 1 << 0 // flags: the handshake continues after a refused option,
	nbdNoZeroes = 1 << 1 // and ends without padding
	nbdGo       = 7      // options
	nbdAck      = 1      // replies
	nbdInfo     = 3
	nbdError    = 1 << 31
	nbdMostText = 4096

	// ... and after it.
	nbdRequest = 0x25609513
	nbdAnswer  = 0x67446698
	nbdRead    = 0
	nbdBye     = 2
)

// nbdMost is the maximum number of bytes per read.
const nbdMost = 1 << 20

// errClosed is the error of reading after Close.
var errClosed = errors.New("the connection is closed")

// nbdPatience is how long a server may take to answer.
const nbdPatience = 2 * time.Minute

// An nbdClient reads from a network block device server.
type nbdClient struct {
	f    *os.File
	size int64
	done <-chan struct{} // closed when the caller needs no more data
	shut chan struct{}   // closed with the connection

	mu     sync.Mutex
	handle uint64
	broken error // set when the connection is no longer usable
}

// openNBD connects to a server on a socket and requests an export.
func openNBD(socket, export string, done <-chan struct{}) (*nbdClient, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	err = unix.SetNonblock(fd, true) // for deadlines
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", socket, err), unix.Close(fd))
	}
	c := &nbdClient{f: os.NewFile(uintptr(fd), socket), done: done, shut: make(chan struct{})}
	go c.hangUp()
	if err := c.handshake(export); err != nil {
		close(c.shut)
		c.f.Close()
		return nil, fmt.Errorf("NBD server at %s: %w", socket, c.cause(err))
	}
	return c, nil
}

// hangUp closes the connection when done is closed. That ends all waits for the server.
func (c *nbdClient) hangUp() {
	select {
	case <-c.done:
		c.f.Close()
	case <-c.shut:
	}
}

// cause returns the reason for a failure: err, or that the caller needs no more data.
func (c *nbdClient) cause(err error) error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return err
	}
}

// receive reads fixed-size values.
func (c *nbdClient) receive(values ...any) error {
	for _, v := range values {
		if err := binary.Read(c.f, binary.BigEndian, v); err != nil {
			return err
		}
	}
	return nil
}

// send writes fixed-size values in one go.
func (c *nbdClient) send(values ...any) error {
	var b []byte
	for _, v := range values {
		var err error
		if b, err = binary.Append(b, binary.BigEndian, v); err != nil {
			return err
		}
	}
	_, err := c.f.Write(b)
	return err
}

func (c *nbdClient) handshake(export string) error {
	if err := c.f.SetDeadline(time.Now().Add(nbdPatience)); err != nil {
		return err
	}
	var magic, option uint64
	var flags uint16
	if err := c.receive(&magic, &option, &flags); err != nil {
		return err
	}
	if magic != nbdMagic || option != nbdHaveOpt || flags&nbdNewstyle == 0 {
		return errors.New("it is not an NBD server, or an old one")
	}
	name := []byte(export)
	if err := c.send(uint32(nbdNewstyle|flags&nbdNoZeroes), uint64(nbdHaveOpt), uint32(nbdGo), uint32(len(name)+6), uint32(len(name)), name, uint16(0)); err != nil {
		return err
	}
	for {
		var magic uint64
		var option, kind, length uint32
		if err := c.receive(&magic, &option, &kind, &length); err != nil {
			return err
		}
		if magic != nbdReply || length > nbdMostText {
			return errors.New("it is not an NBD server")
		}
		data := make([]byte, length)
		if err := c.receive(data); err != nil {
			return err
		}
		switch {
		case kind == nbdAck:
			return nil
		case kind&nbdError != 0:
			return fmt.Errorf("it refuses the export %q (error %d): %s", export, kind&^nbdError, data)
		case kind == nbdInfo && length >= 10 && binary.BigEndian.Uint16(data) == 0:
			if c.size = int64(binary.BigEndian.Uint64(data[2:])); c.size < 0 {
				return fmt.Errorf("an export of %d bytes", uint64(c.size))
			}
		}
	}
}

// ReadAt implements [io.ReaderAt].
func (c *nbdClient) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off < 0 || off >= c.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > c.size-off {
		p, end = p[:c.size-off], io.EOF
	}
	for done := 0; done < len(p); {
		part := p[done:min(done+nbdMost, len(p))]
		if err := c.read(part, off+int64(done)); err != nil {
			return done, fmt.Errorf("NBD server at %s: byte %d: %w", c.f.Name(), off+int64(done), err)
		}
		done += len(part)
	}
	return len(p), end
}

// read reads one piece. After an error reported by the server, the connection remains usable; after
// any other error, it does not.
func (c *nbdClient) read(p []byte, off int64) error {
	if c.broken != nil {
		return c.broken
	}
	c.handle++
	var magic, code uint32
	var handle uint64
	err := c.f.SetDeadline(time.Now().Add(nbdPatience))
	if err == nil {
		err = c.send(uint32(nbdRequest), uint16(0), uint16(nbdRead), c.handle, uint64(off), uint32(len(p)))
	}
	if err == nil {
		err = c.receive(&magic, &code, &handle)
	}
	switch {
	case err != nil:
	case magic != nbdAnswer || handle != c.handle:
		err = errors.New("an answer to something else")
	case code != 0:
		return syscall.Errno(code)
	default:
		_, err = io.ReadFull(c.f, p)
	}
	if err != nil {
		c.broken = c.cause(err)
	}
	return c.broken
}

// Close closes the connection.
func (c *nbdClient) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == errClosed {
		return nil
	}
	close(c.shut)
	if c.broken == nil && c.f.SetDeadline(time.Now().Add(time.Second)) == nil {
		_ = c.send(uint32(nbdRequest), uint16(0), uint16(nbdBye), uint64(0), uint64(0), uint32(0))
	}
	c.broken = errClosed
	if err := c.f.Close(); !errors.Is(err, os.ErrClosed) { // hangUp closed it
		return err
	}
	return nil
}
