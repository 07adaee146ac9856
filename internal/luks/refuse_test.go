package luks_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"thinpool/internal/luks"
)

// Anything that would give wrong data, or is not understood, is refused with the reason.
func TestRefused(t *testing.T) {
	segment := func(name string, value any) func(object) {
		return func(m object) { at(m, "segments", "0")[name] = value }
	}
	require := func(what string) func(object) {
		return func(m object) { at(m, "config")["requirements"] = object{"mandatory": []any{what}} }
	}
	for name, tc := range map[string]struct {
		d    disk
		want string
	}{
		"re-encryption":   {disk{edit: require("online-reencrypt")}, `re-encryption is in progress ("online-reencrypt")`},
		"re-encryption 2": {disk{edit: require("online-reencrypt-v2")}, `re-encryption is in progress ("online-reencrypt-v2")`},
		"requirement":     {disk{edit: require("opal")}, `it requires "opal", which is not supported`},
		"integrity":       {disk{edit: segment("integrity", object{"type": "hmac(sha256)"})}, "integrity tags"},
		"two segments": {disk{edit: func(m object) {
			at(m, "segments")["1"] = at(m, "segments", "0")
		}}, "2 segments, only one is supported"},
		"no segment":    {disk{edit: func(m object) { m["segments"] = object{} }}, "0 segments"},
		"linear":        {disk{edit: segment("type", "linear")}, `its type "linear" is not supported`},
		"cipher":        {disk{edit: segment("encryption", "serpent-xts-plain64")}, `cipher "serpent-xts-plain64" is not supported`},
		"long cipher":   {disk{edit: segment("encryption", strings.Repeat("x", 5000))}, strings.Repeat("x", 64) + `"... is not supported`},
		"sectors":       {disk{edit: segment("sector_size", 8192)}, "sectors of 8192 bytes"},
		"odd sectors":   {disk{edit: segment("sector_size", 1536)}, "sectors of 1536 bytes"},
		"small sectors": {disk{edit: segment("sector_size", 256)}, "sectors of 256 bytes"},
		"detached":      {disk{edit: segment("offset", "0")}, "this is a detached header"},
		"behind":        {disk{edit: segment("offset", "1073741824")}, "the data starts at byte 1073741824, but there are only 196608 bytes"},
		"odd offset":    {disk{edit: segment("offset", "131073")}, "131073 bytes are not whole sectors"},
		"offset":        {disk{edit: segment("offset", "-512")}, `"-512" is not a number of bytes`},
		"size":          {disk{edit: segment("size", "many")}, `its size: "many" is not a number`},
		"no size":       {disk{edit: segment("size", "0")}, "there is no data"},
		"tweak":         {disk{edit: segment("iv_tweak", "x")}, `its iv_tweak "x" is not a number`},
		"many slots": {disk{edit: func(m object) {
			for i := range 33 {
				at(m, "keyslots")[strings.Repeat("1", i+1)] = object{}
			}
		}}, "key slots, at most 32"},
		"JSON":         {disk{edit: func(m object) { m["keyslots"] = 5 }}, "its JSON: "},
		"luks1 cipher": {disk{version: 1, editBinary: func(b []byte, _ int) { copy(b[8:], "twofish\x00") }}, `cipher "twofish-xts-plain64"`},
		"luks1 key":    {disk{version: 1, editBinary: func(b []byte, _ int) { b[108] = 1 }}, "a key of 16777280 bytes"},
		"luks1 busy":   {disk{version: 1, editBinary: func(b []byte, _ int) { copy(b, "LUKS\xde\xad") }}, "re-encryption by cryptsetup-reencrypt is in progress"},
		"luks1 apart":  {disk{version: 1, editBinary: func(b []byte, _ int) { clear(b[104:108]) }}, "this is a detached header"},
	} {
		image, _ := tc.d.make()
		if !luks.Recognise(image) {
			t.Errorf("%s: not recognised", name)
		}
		_, err := luks.Open(t.Context(), bytes.NewReader(image), int64(len(image)))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	for _, size := range []int64{0, 100, 5000} {
		image, _ := disk{version: 1 + int(size/5000)}.make()
		if _, err := luks.Open(t.Context(), bytes.NewReader(image), size); err == nil {
			t.Errorf("no error with %d bytes", size)
		}
	}
}

// An unusable slot reports why, and the key is not called wrong.
func TestSlotRefused(t *testing.T) {
	put := func(value any, names ...string) func(object) {
		return func(m object) {
			last := len(names) - 1
			at(m, names[:last]...)[names[last]] = value
		}
	}
	slot := func(value any, names ...string) disk {
		return disk{edit: put(value, append([]string{"keyslots", "0"}, names...)...)}
	}
	digest := func(value any, name string) disk { return disk{edit: put(value, "digests", "0", name)} }
	argon := func(time, memory, cpus int) disk {
		return disk{edit: put(object{"type": "argon2i", "time": time, "memory": memory, "cpus": cpus, "salt": "AAAA"}, "keyslots", "0", "kdf")}
	}
	field1 := func(off int, value uint32) disk {
		return disk{version: 1, editBinary: func(b []byte, _ int) { binary.BigEndian.PutUint32(b[off:], value) }}
	}
	const slot1 = 208 + 48
	for name, tc := range map[string]struct {
		d    disk
		want string
	}{
		"type":             {slot("reencrypt", "type"), `its type is "reencrypt"`},
		"splitter":         {slot("x", "af", "type"), `its splitter is "x"`},
		"area":             {slot("datashift", "area", "type"), `its area is "datashift"`},
		"digest":           {digest("x", "type"), `its digest is "x"`},
		"kdf":              {slot("scrypt", "kdf", "type"), `key derivation "scrypt"`},
		"hash":             {slot("whirlpool", "kdf", "hash"), `hash "whirlpool" is not supported`},
		"splitter's hash":  {slot("ripemd160", "af", "hash"), `hash "ripemd160"`},
		"digest's hash":    {digest("blake2b", "hash"), `hash "blake2b"`},
		"area's cipher":    {slot("aes-ctr-plain64", "area", "encryption"), `cipher "aes-ctr-plain64"`},
		"iterations":       {slot(uint32(1<<31+1), "kdf", "iterations"), "pbkdf2 with 2147483649 iterations"},
		"no iterations":    {slot(0, "kdf", "iterations"), "pbkdf2 with 0 iterations"},
		"digest's":         {digest(0, "iterations"), "pbkdf2 with 0 iterations"},
		"key":              {slot(1000, "key_size"), "a key of 1000 bytes"},
		"odd key":          {slot(33, "key_size"), "cipher aes-xts-plain64 with a key of 33 bytes"},
		"area's key":       {slot(0, "area", "key_size"), "an area with a key of 0 bytes"},
		"stripes":          {slot(1<<30, "af", "stripes"), "a key split in 1073741824 stripes"},
		"more than area":   {slot(300, "af", "stripes"), "its key would need 19456 bytes"},
		"area behind":      {slot("1073741824", "area", "offset"), "its key would need 512 bytes at byte 1073741824"},
		"area's offset":    {slot("x", "area", "offset"), `"x" is not a number`},
		"short digest":     {digest("AAAA", "digest"), "a digest of 3 bytes"},
		"passes":           {argon(0, 64, 1), "argon2i with 0 passes"},
		"many passes":      {argon(1<<20, 64, 1), "argon2i with 1048576 passes"},
		"threads":          {argon(1, 64, 256), "argon2i with 256 threads"},
		"no memory":        {argon(1, 0, 1), "argon2i without memory"},
		"luks1 stripes":    {field1(slot1+44, 1<<31), "stripes"},
		"luks1 area":       {field1(slot1+40, 1<<31), "more than are there"},
		"luks1 iterations": {field1(slot1+4, 0), "pbkdf2 with 0 iterations"},
		"luks1 digest":     {field1(164, 1<<31+1), "pbkdf2 with 2147483649 iterations"},
	} {
		image, _ := tc.d.make()
		h := open(t, image)
		if h.Slots[0].Err == nil || h.Memory() != 0 {
			t.Errorf("%s: %v, memory %d", name, h.Slots[0].Err, h.Memory())
		}
		_, err := h.Unlock(t.Context(), []byte("secret"), anyMemory)
		want := "no key slot can be tried: key slot"
		if err == nil || errors.Is(err, luks.ErrWrongKey) || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	for name, d := range map[string]disk{
		"erased":       {passwords: []string{}},
		"luks1 erased": {version: 1, passwords: []string{}},
		"unbound":      digest([]any{}, "segments"),
		"no such slot": digest([]any{"7", "x", "-1"}, "keyslots"),
	} {
		image, _ := d.make()
		_, err := open(t, image).Unlock(t.Context(), []byte("secret"), anyMemory)
		if err == nil || !strings.Contains(err.Error(), "all key slots are erased") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// One copy of the LUKS2 header is enough. If both are valid, the newer one counts.
func TestCopies(t *testing.T) {
	newer := func(which int) disk {
		return disk{editBinary: func(b []byte, i int) {
			if i == which {
				binary.BigEndian.PutUint64(b[16:], 4)
				copy(b[24:], "newer label")
			}
		}}
	}
	flip := func(off int) func([]byte) { return func(b []byte) { b[off] ^= 1 } }
	for name, tc := range map[string]struct {
		d           disk
		damage      func(b []byte)
		note, label string
	}{
		"first":            {disk{}, flip(5000), "the first copy of the header is damaged (its checksum is wrong): the second one is used", "a label"},
		"second":           {disk{}, flip(headerSize + 5000), "the second copy of the header is damaged (its checksum is wrong): the first one is used", "a label"},
		"first size":       {disk{}, flip(15), "the first copy of the header is damaged (a size of 16385 bytes)", "a label"},
		"first version":    {disk{}, flip(7), "the first copy of the header is damaged (version 3)", "a label"},
		"first place":      {disk{}, flip(263), "(it says it is at byte 1)", "a label"},
		"first hash":       {disk{}, flip(72), `(its checksum: hash "rha256" is not supported)`, "a label"},
		"first wiped":      {disk{}, func(b []byte) { clear(b[:4096]) }, "the first copy of the header is damaged (no LUKS magic)", "a label"},
		"second gone":      {disk{}, func(b []byte) { clear(b[headerSize:][:512]) }, "the second copy of the header is damaged (it is not there)", "a label"},
		"first is newer":   {newer(0), func([]byte) {}, "", "newer label"},
		"second is newer":  {newer(1), func([]byte) {}, "the second copy of the header is newer", "newer label"},
		"second is broken": {newer(1), flip(headerSize + 5000), "the second copy", "a label"},
	} {
		image, want := tc.d.make()
		tc.damage(image)
		if !luks.Recognise(image[:luks.Probe]) {
			t.Errorf("%s: not recognised", name)
		}
		h := open(t, image)
		if note := strings.Join(h.Notes, "\n"); h.Label != tc.label || !strings.Contains(note, tc.note) || (note == "") != (tc.note == "") {
			t.Errorf("%s: label %q, note %q, want %q", name, h.Label, note, tc.note)
		}
		if !bytes.Equal(content(t, unlock(t, h, "secret")), want) {
			t.Errorf("%s: other bytes", name)
		}
	}
	image, _ := disk{}.make()
	image[5000] ^= 1
	image[headerSize+5000] ^= 1
	_, err := luks.Open(t.Context(), bytes.NewReader(image), int64(len(image)))
	if err == nil || err.Error() != "LUKS2 header: both copies are damaged: first: its checksum is wrong; second: its checksum is wrong" {
		t.Errorf("both damaged: %v", err)
	}
}

func TestRecognise(t *testing.T) {
	image, _ := disk{}.make()
	if luks.Recognise(image[:5]) || luks.Recognise(nil) || luks.Recognise(make([]byte, luks.Probe)) {
		t.Error("recognised without a header")
	}
	clear(image[:4096])
	if !luks.Recognise(image) || luks.Recognise(image[:4096]) {
		t.Error("the second header alone")
	}
	// Whatever overwrote the first header counts, not the remains of the second.
	copy(image[512:], "LABELONE")
	if luks.Recognise(image) {
		t.Error("a remnant is recognised")
	}
}

// A segment may be shorter than the disk, or the disk truncated.
func TestSegmentSize(t *testing.T) {
	d := disk{edit: func(m object) { at(m, "segments", "0")["size"] = "8192" }}
	image, want := d.make()
	h := open(t, image)
	if h.Size != 8192 || h.Notes != nil || !bytes.Equal(content(t, unlock(t, h, "secret")), want[:8192]) {
		t.Errorf("%+v", h)
	}
	image = image[:dataAt+4096+100]
	h = open(t, image)
	if h.Size != 4096 || len(h.Notes) != 1 || h.Notes[0] != "the data should have 8192 bytes, but only 4196 are there" {
		t.Errorf("size %d, %q", h.Size, h.Notes)
	}
}
