package md_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"thinpool/internal/md"
)

const (
	kib    = 1 << 10
	chunk  = 4 * kib
	offset = 64 * kib // of the data, with the superblock at the start
	magic  = 0xa92b4efc
)

// An array describes members to create. The tests place chunks one by one and compute parity byte
// by byte, with different code than the package.
type array struct {
	version string
	big     bool // 0.90, written by a big-endian machine
	level   int
	layout  int
	drawn   string // layouts with parity: digits are data in order, - ends a row
	devices int
	used    int   // bytes per device
	sizes   []int // bytes per device, for linear and raid0

	events     []uint64                 // per device; default 7
	edit       func(role int, b []byte) // edits the superblock before its checksum is computed
	editMember func(role int, image []byte)
}

var rnd = rand.New(rand.NewPCG(3, 4))

func random(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}

func (a array) sane() array {
	if a.version == "" {
		a.version = "1.2"
	}
	if a.used == 0 {
		a.used = 16 * chunk
	}
	return a
}

// make returns the members and the content of the array.
func (a array) make() (members []md.Member, content []byte) {
	a = a.sane()
	legs := make([][]byte, a.devices)
	for i := range legs {
		n := a.used
		if a.sizes != nil {
			n = a.sizes[i]
		}
		legs[i] = make([]byte, n)
	}
	content = a.fill(legs)
	for role, leg := range legs {
		image := a.image(role, leg)
		members = append(members, member(fmt.Sprintf("disk%d", role), image))
	}
	return members, content
}

// member returns the member in an image. It panics if there is no readable superblock.
func member(name string, image []byte) md.Member {
	r := bytes.NewReader(image)
	s, err := md.Recognise(r, r.Size())
	if err != nil || s == nil {
		panic(fmt.Sprint(name, " ", s, " ", err))
	}
	return md.Member{Name: name, R: r, Size: r.Size(), Super: s}
}

// fill writes content to the legs.
func (a array) fill(legs [][]byte) []byte {
	switch {
	case a.level == -1:
		for _, l := range legs {
			copy(l, random(len(l)))
		}
		return bytes.Join(legs, nil)
	case a.level == 0:
		return a.fill0(legs)
	case a.level == 1:
		copy(legs[0], random(len(legs[0])))
		for _, l := range legs[1:] {
			copy(l, legs[0])
		}
		return legs[0]
	case a.level == 10:
		return a.fill10(legs)
	}
	return a.fillParity(legs)
}

// fill0 deals chunks round by round to devices with room.
func (a array) fill0(legs [][]byte) (content []byte) {
	next := make([]int, len(legs))
	count := 0
	for begin := 0; ; {
		var room []int
		for i, l := range legs {
			if next[i]+chunk <= len(l) && next[i] == begin {
				room = append(room, i)
			}
		}
		if room == nil {
			return content
		}
		for i := range room {
			c := random(chunk)
			device := room[i]
			if a.layout == 1 { // rounds count from the start of the array
				device = room[count%len(room)]
			}
			content = append(content, c...)
			copy(legs[device][next[device]:], c)
			next[device] += chunk
			count++
		}
		begin += chunk
	}
}

// fill10 deals the copies.
func (a array) fill10(legs [][]byte) (content []byte) {
	near, far := a.layout&0xff, a.layout>>8&0xff
	n := len(legs)
	rows := a.used / chunk / far
	// All first copies are dealt. Then each far copy repeats them, shifted by one device.
	set := n
	switch a.layout >> 17 {
	case 1:
		set = n / far
	case 2:
		set = far
	}
	sets := max(n/set, 1)
	shift := func(device int) int { // the next device in its set; the last set has the remainder
		s := min(device/set, sets-1)
		begin, size := s*set, set
		if s == sets-1 {
			size = n - begin
		}
		return begin + (device-begin+1)%size
	}
	for dealt := 0; (dealt + near) <= rows*n; {
		c := random(chunk)
		content = append(content, c...)
		for range near {
			row, device := dealt/n, dealt%n
			for f := range far {
				at := row + f*rows
				if a.layout&(1<<16) != 0 {
					at = row*far + f
				}
				copy(legs[device][at*chunk:], c)
				device = shift(device)
			}
			dealt++
		}
	}
	return content
}

func double(c byte) byte {
	high := c >> 7
	return c<<1 ^ high*0x1d
}

// fillParity writes rows as drawn. In three of md's layouts, a device counts in Q by its number; in
// all others, by its distance from Q, counting data devices only.
func (a array) fillParity(legs [][]byte) []byte {
	rows := bytes.Split([]byte(a.drawn), []byte("-"))
	n := len(legs)
	data := bytes.Count(rows[0], []byte("P")) + bytes.Count(rows[0], []byte("Q"))
	data = n - data
	content := random(a.used * data)
	for row := range a.used / chunk {
		drawn := rows[row%len(rows)]
		at := row * chunk
		p, q := make([]byte, chunk), make([]byte, chunk)
		behind := bytes.IndexByte(drawn, 'Q') + 1
		byNumber := a.level == 6 && a.layout >= 8 && a.layout <= 10
		exponent := 0
		for i := range n {
			device := (behind + i) % n
			if byNumber {
				device = i
			}
			if d := drawn[device]; d >= '0' && d <= '9' {
				c := content[(row*data+int(d-'0'))*chunk:][:chunk]
				copy(legs[device][at:], c)
				if byNumber {
					exponent = device
				}
				for j, b := range c {
					p[j] ^= b
					for range exponent {
						b = double(b)
					}
					q[j] ^= b
				}
				exponent++
			}
		}
		copy(legs[bytes.IndexByte(drawn, 'P')][at:], p)
		if behind > 0 {
			copy(legs[behind-1][at:], q)
		}
	}
	return content
}

// image returns a disk with a superblock and a leg. It is slightly larger than needed.
func (a array) image(role int, leg []byte) []byte {
	b := make([]byte, 4096)
	if a.version == "0.90" {
		image := make([]byte, len(leg)+(64*kib-len(leg)%(64*kib))%(64*kib)+64*kib+5*kib)
		copy(image, leg)
		a.super0(role, b)
		copy(image[len(image)/(64*kib)*(64*kib)-64*kib:], b)
		return a.edited(role, image)
	}
	at, data := map[string]int{"1.0": 0, "1.1": 0, "1.2": 4096}[a.version], offset
	if a.version == "1.0" {
		at, data = (len(leg)+4*kib-1)/(4*kib)*4*kib+4*kib, 0
	}
	image := make([]byte, max(data+len(leg), at+8*kib))
	copy(image[data:], leg)
	a.super1(role, b, at, data, len(leg))
	copy(image[at:], b)
	return a.edited(role, image)
}

func (a array) edited(role int, image []byte) []byte {
	if a.editMember != nil {
		a.editMember(role, image)
	}
	return image
}

func (a array) eventsOf(role int) uint64 {
	if a.events == nil {
		return 7
	}
	return a.events[role]
}

func (a array) super1(role int, b []byte, at, data, size int) {
	le := binary.LittleEndian
	le.PutUint32(b, magic)
	le.PutUint32(b[4:], 1)
	copy(b[16:], "array's UUID ...")
	copy(b[32:], "host:name")
	le.PutUint64(b[64:], 1000) // created
	le.PutUint32(b[72:], uint32(a.level))
	le.PutUint32(b[76:], uint32(a.layout))
	if a.level == 0 && a.layout > 0 {
		le.PutUint32(b[8:], 1<<12)
	}
	if a.level >= 1 {
		le.PutUint64(b[80:], uint64(a.used/512))
	}
	if a.level != 1 {
		le.PutUint32(b[88:], chunk/512)
	}
	le.PutUint32(b[92:], uint32(a.devices))
	le.PutUint64(b[128:], uint64(data/512))
	le.PutUint64(b[136:], uint64(size/512))
	le.PutUint64(b[144:], uint64(at/512))
	le.PutUint32(b[160:], uint32(role))
	copy(b[168:], fmt.Sprintf("device's UUID %02d", role))
	le.PutUint64(b[192:], 1_700_000_000|5<<40)
	le.PutUint64(b[200:], a.eventsOf(role))
	le.PutUint64(b[208:], 1<<64-1)
	le.PutUint32(b[220:], uint32(a.devices+1))
	for i := range a.devices + 1 {
		le.PutUint16(b[256+2*i:], uint16(i))
	}
	le.PutUint16(b[256+2*a.devices:], 0xffff)
	if a.edit != nil {
		a.edit(role, b)
	}
	seal1(b)
}

// seal1 writes the checksum. It is computed from bytes here, not from words.
func seal1(b []byte) {
	clear(b[216:220])
	n := 256 + 2*min(int(binary.LittleEndian.Uint32(b[220:])), 1900)
	var sum uint64
	for i := range n {
		sum += uint64(b[i]) << (8 * (i % 4))
	}
	binary.LittleEndian.PutUint32(b[216:], uint32(sum&0xffffffff+sum>>32))
}

func (a array) order() binary.ByteOrder {
	if a.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (a array) super0(role int, b []byte) {
	put := func(word int, v uint32) { a.order().PutUint32(b[4*word:], v) }
	put(0, magic)
	put(2, 90)
	for i, w := range []int{5, 13, 14, 15} {
		put(w, 0x11111111*uint32(i+1))
	}
	put(6, 1000)
	put(7, uint32(a.level))
	put(8, uint32(a.used/kib))
	put(10, uint32(a.devices))
	put(32, 1_700_000_000)
	put(33, 1)
	a.order().PutUint64(b[4*39:], a.eventsOf(role))
	put(64, uint32(a.layout))
	put(65, chunk)
	for i := range a.devices {
		put(128+32*i, uint32(i))
		put(128+32*i+3, uint32(i))
		put(128+32*i+4, 6) // active, in sync
	}
	put(992, uint32(role))
	if a.edit != nil {
		a.edit(role, b)
	}
	a.seal0(b)
}

func (a array) seal0(b []byte) {
	clear(b[4*38 : 4*39])
	var sum uint64
	for i := 0; i < len(b); i += 4 {
		sum += uint64(a.order().Uint32(b[i:]))
	}
	a.order().PutUint32(b[4*38:], uint32(sum&0xffffffff+sum>>32))
}

func assemble(t *testing.T, members []md.Member, opt md.Options) *md.Array {
	t.Helper()
	a, err := md.Assemble(members, opt)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// content reads the whole array.
func content(t *testing.T, a *md.Array) []byte {
	t.Helper()
	p := make([]byte, a.Size())
	if n, err := a.ReadAt(p, 0); n != len(p) || err != nil {
		t.Fatalf("%d of %d bytes: %v", n, len(p), err)
	}
	return p
}

// failing is a disk with an unreadable range.
type failing struct {
	r    io.ReaderAt
	from int64
	to   int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && f.from < off+int64(len(p)) {
		return 0, fmt.Errorf("device failed at %d", max(off, f.from))
	}
	return f.r.ReadAt(p, off)
}
