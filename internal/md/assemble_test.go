package md_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"thinpool/internal/md"
)

var le = binary.LittleEndian

// onlyRole edits the superblock of one member.
func onlyRole(role int, fn func(b []byte)) func(int, []byte) {
	return func(r int, b []byte) {
		if r == role {
			fn(b)
		}
	}
}

func setFeature(b []byte, bit uint32) { le.PutUint32(b[8:], le.Uint32(b[8:])|bit) }

func setRole(b []byte, device int, role uint16) { le.PutUint16(b[256+2*device:], role) }

// old gives a leg different content, as if it were stale.
func old(leg int) func(int, []byte) {
	return onlyRole(leg, func(image []byte) { copy(image[offset:], bytes.Repeat([]byte("old"), 500)) })
}

// Which members are used, and why others are not.
func TestChoice(t *testing.T) {
	three := func(a array) array { a.level, a.devices = 1, 3; return a }
	for name, tc := range map[string]struct {
		array
		roles  []int
		unused string // reason for member 0
		notes  string
	}{
		"all": {three(array{}), []int{0, 1, 2}, "", ""},
		"stale": {
			three(array{events: []uint64{5, 7, 7}, editMember: old(0)}),
			[]int{-1, 1, 2},
			"it is out of date: 5 events, the newest member has 7", "",
		},
		// They are written one after another.
		"one event": {three(array{events: []uint64{6, 7, 7}}), []int{0, 1, 2}, "", ""},
		"failed": {
			three(array{events: []uint64{6, 7, 7}, editMember: old(0), edit: func(role int, b []byte) {
				if role > 0 {
					setRole(b, 0, 0xfffe)
				}
			}}),
			[]int{-1, 1, 2},
			"the newest member says that it failed", "",
		},
		"faulty":  {three(array{edit: onlyRole(0, func(b []byte) { setRole(b, 0, 0xfffe) })}), []int{-1, 1, 2}, "it is marked as failed", ""},
		"spare":   {three(array{edit: onlyRole(0, func(b []byte) { setRole(b, 0, 0xffff) })}), []int{-1, 1, 2}, "it is a spare", ""},
		"no role": {three(array{edit: onlyRole(0, func(b []byte) { le.PutUint32(b[160:], 9) })}), []int{-1, 1, 2}, "it is a spare", ""},
		"rebuilt": {
			three(array{editMember: old(0), edit: onlyRole(0, func(b []byte) { setFeature(b, 2); le.PutUint64(b[152:], 8) })}),
			[]int{-1, 1, 2},
			"its rebuild is not complete", "",
		},
		"rebuilt to its end": {
			three(array{edit: onlyRole(0, func(b []byte) { setFeature(b, 2); le.PutUint64(b[152:], 1<<64-1) })}),
			[]int{0, 1, 2},
			"", "",
		},
		"replacement": {
			three(array{edit: onlyRole(0, func(b []byte) { setFeature(b, 16) })}),
			[]int{-1, 1, 2},
			"it is an unfinished replacement for another member", "",
		},
		"twice": {
			three(array{edit: onlyRole(1, func(b []byte) { setRole(b, 1, 0); setRole(b, 0, 1) })}),
			[]int{0, -1, 2},
			"", "",
		},
		"dirty": {
			three(array{edit: onlyRole(1, func(b []byte) { le.PutUint64(b[208:], 0) })}),
			[]int{0, 1, 2},
			"", "it was not stopped cleanly: its legs may differ in places written last; the first leg is read",
		},
		"smaller now": {
			three(array{events: []uint64{5, 7, 7}, edit: func(role int, b []byte) {
				if role == 0 {
					setRole(b, 0, 4)
					le.PutUint32(b[92:], 5)
				}
			}}),
			[]int{-1, 1, 2},
			"its role 4 is no longer in the array", "",
		},
	} {
		members, want := tc.make()
		a := assemble(t, members, md.Options{})
		var roles []int
		for _, r := range a.Roles {
			roles = append(roles, r.Member)
		}
		unused := ""
		for _, u := range a.Unused {
			if u.Member == 0 {
				unused = u.Reason
			}
		}
		if !reflect.DeepEqual(roles, tc.roles) || unused != tc.unused || strings.Join(a.Notes, "\n") != tc.notes {
			t.Errorf("%s: %v, unused %+v, notes %q", name, roles, a.Unused, a.Notes)
		}
		if !bytes.Equal(content(t, a), want) {
			t.Errorf("%s: other bytes", name)
		}
	}
}

// Members without a role do not change what is missing.
func TestStaleIsAsked(t *testing.T) {
	ls := array{level: 5, layout: 2, devices: 3, drawn: "01P-1P0-P01", events: []uint64{7, 5, 3}}
	members, want := ls.make()
	_, err := md.Assemble(members, md.Options{})
	const reason = "it needs 2 of its 3 members: role 1 is not used: disk1: it is out of date: 5 events, the newest member has 7, role 2 is not used: disk2: it is out of date"
	if err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("without stale ones: %v", err)
	}
	a := assemble(t, members, md.Options{Stale: true})
	if !bytes.Equal(content(t, a), want) || len(a.Unused) > 0 || a.Degraded {
		t.Errorf("other bytes; unused %+v", a.Unused)
	}
	if !a.Roles[1].Stale || !a.Roles[2].Stale || a.Roles[0].Stale || len(a.Notes) != 2 || !strings.HasPrefix(a.Notes[0], "disk1 is used though it is out of date") {
		t.Errorf("%+v, %q", a.Roles, a.Notes)
	}
	// A stale member does not replace another one, and the newer of two is used.
	ls.events = []uint64{7, 7, 3}
	members, _ = ls.make()
	ls.events = []uint64{7, 7, 5}
	more, _ := ls.make()
	members = append(members, more[2])
	members[3].Name = "newer"
	ls.events = []uint64{5, 7, 5}
	more, _ = ls.make()
	members = append(members, more[0])
	a = assemble(t, members, md.Options{Stale: true})
	if a.Roles[2].Member != 3 || a.Roles[0].Member != 0 || len(a.Unused) != 2 {
		t.Errorf("%+v, %+v", a.Roles, a.Unused)
	}
	// On its own it is the newest.
	ls = array{level: 1, devices: 2, events: []uint64{7, 5}, editMember: old(1)}
	members, want = ls.make()
	if a := assemble(t, members, md.Options{Stale: true}); !bytes.Equal(content(t, a), want) {
		t.Error("the stale leg is read")
	}
	a = assemble(t, members[1:], md.Options{})
	if got := content(t, a); !bytes.HasPrefix(got, []byte("oldold")) || !a.Degraded {
		t.Error("the stale leg alone is not read")
	}
}

func TestNotes(t *testing.T) {
	dirty := func(_ int, b []byte) { le.PutUint64(b[208:], 0) }
	ls := array{level: 5, layout: 2, devices: 3, drawn: "01P-1P0-P01", edit: dirty}
	members, want := ls.make()
	for n, note := range map[int]string{
		3: "it was not stopped cleanly: data that has to be computed from parity may be wrong in places written last",
		2: "it was not stopped cleanly and lacks a member: data computed from parity may be wrong in places written last",
	} {
		a := assemble(t, members[:n], md.Options{})
		if len(a.Notes) != 1 || a.Notes[0] != note || !bytes.Equal(content(t, a), want) || a.Super.State() != "active" {
			t.Errorf("%d members: %q", n, a.Notes)
		}
	}
	members, _ = array{level: 10, layout: 0x102, devices: 4, edit: dirty}.make()
	if a := assemble(t, members, md.Options{}); len(a.Notes) != 1 || !strings.Contains(a.Notes[0], "its legs may differ") {
		t.Errorf("raid10: %q", a.Notes)
	}
	members, _ = array{level: 0, devices: 2, sizes: []int{chunk, chunk}, edit: dirty}.make()
	if a := assemble(t, members, md.Options{}); a.Notes != nil {
		t.Errorf("raid0 has nothing that may differ: %q", a.Notes)
	}
	// A truncated disk.
	members, want = array{level: 1, devices: 2}.make()
	members[0].Size -= chunk
	members[0].R = bytes.NewReader(func() []byte {
		p := make([]byte, members[0].Size)
		members[0].R.ReadAt(p, 0)
		return p
	}())
	a := assemble(t, members, md.Options{})
	if len(a.Notes) != 1 || a.Notes[0] != "disk0 (role 0) is cut off: it has 126976 bytes, its data should end at byte 131072" || !bytes.Equal(content(t, a), want) {
		t.Errorf("cut: %q", a.Notes)
	}
}

// Blocks in the bad block log are read from elsewhere.
func TestBadBlocks(t *testing.T) {
	bad := func(role int, b []byte) {
		if role == 0 {
			setFeature(b, 8)
			le.PutUint16(b[186:], 8)
			le.PutUint32(b[188:], 16) // sectors after the superblock
		}
	}
	log := func(role int, image []byte) {
		if role == 0 {
			entries := image[4096+16*512:][:4096]
			for i := range entries {
				entries[i] = 0xff
			}
			le.PutUint64(entries, (offset/512+9)<<10|3)
			copy(image[offset+9*512:], make([]byte, 3*512))
		}
	}
	members, want := array{level: 1, devices: 2, edit: bad, editMember: log}.make()
	if got := members[0].Super.Bad; len(got) != 1 || got[0] != (md.Bad{Offset: offset + 9*512, Size: 3 * 512}) {
		t.Fatalf("%+v", got)
	}
	if !bytes.Equal(content(t, assemble(t, members, md.Options{})), want) {
		t.Error("other bytes")
	}
	p := make([]byte, 512)
	a := assemble(t, members[:1], md.Options{})
	for at, ok := range map[int64]bool{8: true, 9: false, 11: false, 12: true} {
		if _, err := a.ReadAt(p, at*512); (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "is in its bad block log") {
			t.Errorf("sector %d: %v", at, err)
		}
	}
}

func TestRefused(t *testing.T) {
	all := func(fn func(b []byte)) func(int, []byte) { return func(_ int, b []byte) { fn(b) } }
	word := func(off int, v uint32) func(int, []byte) { return all(func(b []byte) { le.PutUint32(b[off:], v) }) }
	two := func(level int, edit func(int, []byte)) array {
		a := array{level: level, devices: 2, edit: edit}
		if level < 1 {
			a.sizes = []int{5 * chunk, 9 * chunk}
		}
		return a
	}
	for name, tc := range map[string]struct {
		array
		want string
	}{
		"reshape":    {two(1, all(func(b []byte) { setFeature(b, 4) })), "a reshape is in progress"},
		"journal":    {two(1, all(func(b []byte) { setFeature(b, 512) })), "the array has a journal"},
		"a journal":  {two(1, onlyRole(0, func(b []byte) { setRole(b, 0, 0xfffd) })), "disk0: the array has a journal"},
		"another":    {two(1, onlyRole(1, func(b []byte) { b[16] = 'x' })), "disk1 is of another array, 78727261:79277320:55554944:202e2e2e"},
		"multipath":  {two(-1, word(72, 1<<32-4)), "(multipath): this level is not supported"},
		"faulty":     {two(-1, word(72, 1<<32-5)), "(faulty): this level is not supported"},
		"raid7":      {two(-1, word(72, 7)), "(raid7): this level is not supported"},
		"raid0":      {two(0, nil), "its members differ in size, and it does not say in which of the two layouts it was written"},
		"raid0 0.90": {array{version: "0.90", level: 0, devices: 2, layout: 1, sizes: []int{32 * chunk, 64 * chunk}}, "its members differ in size"},
		"raid0's":    {array{level: 0, devices: 2, layout: 3, sizes: []int{5 * chunk, 9 * chunk}}, "its members differ in size"},
		"raid5":      {array{level: 5, devices: 2, drawn: "0P", layout: 6}, "layout 6 is not known"},
		"raid6":      {array{level: 6, devices: 3, drawn: "0PQ", layout: 7}, "layout 7 is not known"},
		"raid10":     {array{level: 10, devices: 4, layout: 0x102, edit: word(76, 0x202)}, "layout 0x202 is not known"},
		"raid10 0":   {array{level: 10, devices: 4, layout: 0x102, edit: word(76, 0)}, "layout 0x0 is not known"},
		"raid10 n5":  {array{level: 10, devices: 4, layout: 0x102, edit: word(76, 0x105)}, "layout 0x105 is not known"},
		"raid10 4":   {array{level: 10, devices: 4, layout: 0x102, edit: word(76, 0x80201)}, "layout 0x80201 is not known"},
		"chunk":      {array{level: 10, devices: 4, layout: 0x102, edit: word(88, 9)}, "chunks of 4608 bytes"},
		"chunk 0":    {two(0, word(88, 0)), "chunks of 0 bytes"},
		"chunk 5":    {array{level: 5, devices: 2, drawn: "0P", edit: word(88, 0)}, "chunks of 0 bytes"},
		"no room":    {array{level: 1, devices: 2, edit: word(80, 0)}, "it has no room for data"},
		"no room 0":  {two(0, word(136, 1)), "it has no room for data"},
	} {
		members, _ := tc.make()
		_, err := md.Assemble(members, md.Options{})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "md array "+members[0].Super.UUID.String()+" (raid") && !strings.HasSuffix(err.Error(), "): this level is not supported") {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if _, err := md.Assemble(nil, md.Options{}); err == nil {
		t.Error("no error without members")
	}
	members, _ := array{level: 10, layout: 0x102, devices: 4}.make()
	_, err := md.Assemble(members[2:], md.Options{})
	if want := "all copies of some chunks are on members that are not there: role 0 is missing, role 1 is missing"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("raid10 without a pair: %v", err)
	}
	members, _ = array{level: 1, devices: 2, edit: onlyRole(0, func(b []byte) { setRole(b, 0, 0xffff) })}.make()
	_, err = md.Assemble(members[:1], md.Options{})
	if want := "it needs one of its members: role 0 is missing, role 1 is missing"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a spare alone: %v", err)
	}
}
