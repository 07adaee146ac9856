//go:build unix

package disk_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"thinpool/disk"
)

// A server is a scripted network block device server.
type server struct {
	content []byte
	say     func(c net.Conn) bool // replaces the handshake; false: continue as usual
	mu      sync.Mutex
	answer  func(c net.Conn, handle []byte, n int) bool // replaces an answer; false: answer as usual
}

func (s *server) sayInstead(say func(c net.Conn) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say = say
}

func (s *server) answerWith(answer func(c net.Conn, handle []byte, n int) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// listen serves connections one at a time and returns the socket.
func (s *server) listen(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "nbd")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(c)
			c.Close()
		}
	}()
	return socket
}

func put(c io.Writer, values ...any) {
	var b []byte
	for _, v := range values {
		b, _ = binary.Append(b, binary.BigEndian, v)
	}
	c.Write(b)
}

func (s *server) serve(c net.Conn) {
	be := binary.BigEndian
	s.mu.Lock()
	say := s.say
	s.mu.Unlock()
	if say != nil && say(c) {
		return
	}
	put(c, []byte("NBDMAGICIHAVEOPT"), uint16(3))
	head := make([]byte, 4+16)
	if _, err := io.ReadFull(c, head); err != nil {
		return
	}
	option := make([]byte, be.Uint32(head[16:]))
	io.ReadFull(c, option)
	name := string(option[4:][:be.Uint32(option)])
	if name != "" && name != "export" {
		put(c, uint64(0x3e889045565a9), uint32(7), uint32(1<<31|6), uint32(4), []byte("none"))
		return
	}
	put(c, uint64(0x3e889045565a9), uint32(7), uint32(3), uint32(12), uint16(0), uint64(len(s.content)), uint16(1))
	put(c, uint64(0x3e889045565a9), uint32(7), uint32(1), uint32(0))
	for {
		request := make([]byte, 28)
		if _, err := io.ReadFull(c, request); err != nil || be.Uint16(request[6:]) != 0 {
			return
		}
		off, n := be.Uint64(request[16:]), be.Uint32(request[24:])
		s.mu.Lock()
		answer := s.answer
		s.mu.Unlock()
		if answer != nil && answer(c, request[8:16], int(n)) {
			continue
		}
		put(c, uint32(0x67446698), uint32(0), request[8:16], s.content[off:off+uint64(n)])
	}
}

// An export is read in pieces and at any offset.
func TestNBD(t *testing.T) {
	content := text16(3<<20 + 16)
	socket := (&server{content: content}).listen(t)
	for _, uri := range []string{"nbd+unix://" + socket, "nbd+unix:///export?socket=" + socket} {
		same(t, uri, content)
		d, err := disk.Open(uri, disk.Options{Claim: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Writable(); err == nil || !strings.Contains(err.Error(), uri+" is read-only") {
			t.Errorf("to be written: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A server without the export, or something that is not a server, is an error at once.
func TestNBDRefuses(t *testing.T) {
	s := &server{content: make([]byte, 512)}
	socket := s.listen(t)
	silent := filepath.Join(t.TempDir(), "silent")
	for want, uri := range map[string]string{
		`refuses the export "other" (error 6): none`: "nbd+unix:///other?socket=" + socket,
		"want nbd+unix:///SOCKET":                    "nbd+unix://host/x",
		"no such file":                               "nbd+unix://" + silent,
	} {
		if _, err := disk.Open(uri, disk.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", uri, err, want)
		}
	}
	for want, text := range map[string]string{
		"is not an NBD server": "SSH-2.0-OpenSSH_9.2 and more",
		"EOF":                  "NBDMAG",
		"an old one":           "NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53\x00\x00",
	} {
		s.sayInstead(func(c net.Conn) bool { io.WriteString(c, text); return true })
		if _, err := disk.Open("nbd+unix://"+socket, disk.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	s.sayInstead(func(c net.Conn) bool {
		put(c, []byte("NBDMAGICIHAVEOPT"), uint16(3), uint64(0x3e889045565a9), uint32(7), uint32(3), uint32(1<<31-1))
		return true
	})
	if _, err := disk.Open("nbd+unix://"+socket, disk.Options{}); err == nil {
		t.Error("an answer of 2 GiB: no error")
	}
}

// Errors of the server only affect that read. After an invalid answer, nothing can be read.
func TestNBDReadErrors(t *testing.T) {
	s := &server{content: text16(4096)}
	socket := s.listen(t)
	d, err := disk.Open("nbd+unix://"+socket, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s.answerWith(func(c net.Conn, handle []byte, _ int) bool {
		put(c, uint32(0x67446698), uint32(syscall.EIO), handle)
		return true
	})
	p := make([]byte, 100)
	if n, err := d.ReadAt(p, 1000); n != 0 || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "byte 1000") {
		t.Errorf("%d bytes, %v", n, err)
	}
	s.answerWith(nil)
	if _, err := d.ReadAt(p, 1000); err != nil || !bytes.Equal(p, s.content[1000:1100]) {
		t.Errorf("after an error: %v", err)
	}
	s.answerWith(func(c net.Conn, handle []byte, n int) bool {
		put(c, uint32(0x67446698), uint32(0), handle, make([]byte, n/2)) // a short answer, then the end
		c.Close()
		return true
	})
	for range 2 {
		if _, err := d.ReadAt(p, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a short answer: %v", err)
		}
	}
}

// A silent server is given up as soon as the caller cancels.
func TestNBDSilent(t *testing.T) {
	s := &server{content: text16(4096)}
	socket := s.listen(t)
	waiting := make(chan struct{}, 1)
	silent := func(c net.Conn) bool {
		waiting <- struct{}{}
		io.Copy(io.Discard, c) // until the client has closed it
		return true
	}
	open := func(done <-chan struct{}) (*disk.Disk, error) {
		return disk.Open("nbd+unix://"+socket, disk.Options{Done: done})
	}
	s.sayInstead(silent)
	done := make(chan struct{})
	go func() { <-waiting; close(done) }()
	if _, err := open(done); !errors.Is(err, context.Canceled) {
		t.Errorf("the handshake: %v", err)
	}

	s.sayInstead(nil)
	done = make(chan struct{})
	d, err := open(done)
	if err != nil {
		t.Fatal(err)
	}
	s.answerWith(func(c net.Conn, _ []byte, _ int) bool { return silent(c) })
	go func() { <-waiting; close(done) }()
	for range 2 {
		if _, err := d.ReadAt(make([]byte, 100), 0); !errors.Is(err, context.Canceled) {
			t.Errorf("a read: %v", err)
		}
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}

	// A client closed before the caller cancels is simply closed.
	s.answerWith(nil)
	done = make(chan struct{})
	if d, err = open(done); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	close(done)
	if _, err := d.ReadAt(make([]byte, 100), 0); err == nil {
		t.Error("read after Close")
	}
}

// QEMU serves the formats that are not supported here, using the command in the message. The
// content then reads correctly.
func TestQemuNBD(t *testing.T) {
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip(err)
	}
	nbd, err := exec.LookPath("qemu-nbd")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	content := text16(5 << 20)
	raw := filepath.Join(dir, "raw")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ format, option, name string }{
		{"vmdk", "subformat=monolithicSparse", "vmdk"},
		{"vmdk", "subformat=monolithicFlat", "vmdk"},
		{"vmdk", "subformat=twoGbMaxExtentSparse", "vmdk"},
		{"vmdk", "subformat=streamOptimized", "vmdk"},
		{"vhdx", "subformat=dynamic", "vhdx"},
		{"vpc", "subformat=dynamic,force_size=on", "vhd"},
		{"vdi", "static=off", "vdi"},
		{"parallels", "", "parallels"},
	} {
		t.Run(c.format+" "+c.option, func(t *testing.T) {
			image := filepath.Join(dir, fmt.Sprintf("an image %d.%s", i, c.format))
			args := []string{"convert", "-f", "raw", "-O", c.format}
			if c.option != "" {
				args = append(args, "-o", c.option)
			}
			if out, err := exec.CommandContext(t.Context(), qemu, append(args, raw, image)...).CombinedOutput(); err != nil {
				t.Fatalf("%s", out)
			}
			_, err := disk.Open(image, disk.Options{})
			const socket = "/tmp/nbd.sock"
			if err == nil || !strings.Contains(err.Error(), c.name+" format") || !strings.Contains(err.Error(), "qemu-nbd -r -k "+socket+" '"+image+"'") {
				t.Fatalf("%v", err)
			}
			// The command from the message, with our own socket.
			own := filepath.Join(t.TempDir(), "s")
			_, line, _ := strings.Cut(err.Error(), "qemu-nbd ")
			line = nbd + " " + strings.Replace(line, socket, own, 1)
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "exec "+line)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			defer cmd.Process.Kill()
			var d *disk.Disk
			for d == nil { // until it listens
				select {
				case err := <-ended:
					t.Fatalf("%s: %v", line, err)
				case <-time.After(5 * time.Millisecond):
					d, _ = disk.Open("nbd+unix://"+own, disk.Options{})
				}
			}
			defer d.Close()
			got := make([]byte, len(content))
			if _, err := d.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, content) {
				t.Errorf("not what was converted: %v", err)
			}
		})
	}
}
