package luks_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/xts"
)

// A disk describes a LUKS disk to create. The tests encrypt with different code than the package:
// XTS from golang.org/x/crypto and CBC from the standard library.
type disk struct {
	version    int
	cipher     string
	keySize    int
	hash       string // of splitter, digest and pbkdf2
	kdf        string // LUKS2 only
	sectorSize int
	stripes    int
	tweak      uint64 // LUKS2: number of the first sector
	size       int    // size of the content
	passwords  []string
	edit       func(m map[string]any)   // edits the JSON of LUKS2
	editBinary func(b []byte, copy int) // edits the binary header before its checksum is computed
}

// sane sets defaults.
func (d disk) sane() disk {
	set := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	text := func(p *string, s string) {
		if *p == "" {
			*p = s
		}
	}
	set(&d.version, 2)
	set(&d.keySize, 64)
	set(&d.sectorSize, 512)
	set(&d.stripes, 7)
	set(&d.size, 64<<10)
	text(&d.cipher, "aes-xts-plain64")
	text(&d.hash, "sha256")
	text(&d.kdf, "pbkdf2")
	if d.passwords == nil {
		d.passwords = []string{"secret"}
	}
	return d
}

const (
	headerSize = 16 << 10
	areaSize   = 16 << 10
	dataAt     = 128 << 10
	iterations = 3
	uuid       = "1f6e6b1a-6a0f-4d59-9d5c-0e5a6f3c7a11"
)

var rnd = rand.New(rand.NewPCG(1, 2))

func random(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// make returns the disk and its content.
func (d disk) make() (image, content []byte) {
	d = d.sane()
	content = random(d.size)
	image = make([]byte, dataAt+len(content))
	volumeKey := random(d.keySize)
	copy(image[dataAt:], content)
	encrypt(d.cipher, volumeKey, image[dataAt:], d.sectorSize, d.tweak)
	if d.version == 1 {
		d.header1(image, volumeKey)
	} else {
		d.header2(image, volumeKey)
	}
	return image, content
}

func newHash(name string) func() hash.Hash {
	return map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}[name]
}

// encrypt encrypts sectors in place.
func encrypt(spec string, key, p []byte, size int, number uint64) {
	mode, iv, _ := strings.Cut(strings.TrimPrefix(spec, "aes-"), "-")
	for ; len(p) > 0; p = p[size:] {
		n := number
		if iv == "plain" {
			n = uint64(uint32(n))
		}
		vector := binary.LittleEndian.AppendUint64(nil, n)
		vector = append(vector, make([]byte, 8)...)
		if iv == "essiv:sha256" {
			hashed := sha256.Sum256(key)
			must(aes.NewCipher(hashed[:])).Encrypt(vector, vector)
		}
		if mode == "xts" {
			must(xts.NewCipher(aes.NewCipher, key)).Encrypt(p[:size], p[:size], n)
		} else {
			cipher.NewCBCEncrypter(must(aes.NewCipher(key)), vector).CryptBlocks(p[:size], p[:size])
		}
		number += uint64(size / 512)
	}
}

// split is the anti-forensic splitter.
func split(key []byte, stripes int, newHash func() hash.Hash) []byte {
	out := random(len(key) * (stripes - 1))
	sum := make([]byte, len(key))
	for i := range stripes - 1 {
		for j := range sum {
			sum[j] ^= out[i*len(key)+j]
		}
		var next []byte
		for n := 0; len(next) < len(sum); n++ {
			h := newHash()
			binary.Write(h, binary.BigEndian, uint32(n))
			h.Write(sum[len(next):min(len(next)+h.Size(), len(sum))])
			next = h.Sum(next)[:min(len(next)+h.Size(), len(sum))]
		}
		sum = next
	}
	for j := range sum {
		out = append(out, sum[j]^key[j])
	}
	return append(out, make([]byte, (512-len(out)%512)%512)...)
}

func (d disk) pbkdf2(password, salt []byte, size int) []byte {
	return must(pbkdf2.Key(newHash(d.hash), string(password), salt, iterations, size))
}

// area writes a slot's copy of the volume key to its area.
func (d disk) area(image []byte, at int, volumeKey, areaKey []byte) {
	p := split(volumeKey, d.stripes, newHash(d.hash))
	encrypt(d.cipher, areaKey, p, 512, 0)
	copy(image[at:], p)
}

func areaOf(slot int) int { return 2*headerSize + slot*areaSize }

func (d disk) header1(image, volumeKey []byte) {
	name, mode, _ := strings.Cut(d.cipher, "-")
	be := binary.BigEndian
	copy(image, "LUKS\xba\xbe\x00\x01")
	copy(image[8:], name)
	copy(image[40:], mode)
	copy(image[72:], d.hash)
	be.PutUint32(image[104:], dataAt/512)
	be.PutUint32(image[108:], uint32(len(volumeKey)))
	salt := random(32)
	copy(image[112:], d.pbkdf2(volumeKey, salt, 20))
	copy(image[132:], salt)
	be.PutUint32(image[164:], iterations)
	copy(image[168:], uuid)
	for i := range 8 {
		be.PutUint32(image[208+48*i:], 0xdead)
	}
	for i, password := range d.passwords {
		slot := image[208+48*(i+1):] // leave the first one unused
		salt := random(32)
		be.PutUint32(slot, 0x00ac71f3)
		be.PutUint32(slot[4:], iterations)
		copy(slot[8:], salt)
		be.PutUint32(slot[40:], uint32(areaOf(i)/512))
		be.PutUint32(slot[44:], uint32(d.stripes))
		d.area(image, areaOf(i), volumeKey, d.pbkdf2([]byte(password), salt, d.keySize))
	}
	if d.editBinary != nil {
		d.editBinary(image, 0)
	}
}

type object = map[string]any

func text64(p []byte) string { return base64.StdEncoding.EncodeToString(p) }

func (d disk) header2(image, volumeKey []byte) {
	salt := random(32)
	slots, names := object{}, []any{}
	for i, password := range d.passwords {
		salt := random(32)
		kdf := object{"type": d.kdf, "salt": text64(salt)}
		var areaKey []byte
		switch d.kdf {
		case "pbkdf2":
			kdf["hash"], kdf["iterations"] = d.hash, iterations
			areaKey = d.pbkdf2([]byte(password), salt, d.keySize)
		case "argon2i":
			kdf["time"], kdf["memory"], kdf["cpus"] = 2, 64, 3
			areaKey = argon2.Key([]byte(password), salt, 2, 64, 3, uint32(d.keySize))
		case "argon2id":
			kdf["time"], kdf["memory"], kdf["cpus"] = 2, 64, 3
			areaKey = argon2.IDKey([]byte(password), salt, 2, 64, 3, uint32(d.keySize))
		}
		name := strconv.Itoa(i)
		names = append(names, name)
		slots[name] = object{
			"type": "luks2", "key_size": d.keySize,
			"af": object{"type": "luks1", "stripes": d.stripes, "hash": d.hash},
			"area": object{
				"type": "raw", "offset": strconv.Itoa(areaOf(i)), "size": strconv.Itoa(areaSize),
				"encryption": d.cipher, "key_size": d.keySize,
			},
			"kdf": kdf,
		}
		d.area(image, areaOf(i), volumeKey, areaKey)
	}
	m := object{
		"keyslots": slots, "tokens": object{},
		"segments": object{"0": object{
			"type": "crypt", "offset": strconv.Itoa(dataAt), "size": "dynamic", "iv_tweak": strconv.FormatUint(d.tweak, 10),
			"encryption": d.cipher, "sector_size": d.sectorSize,
		}},
		"digests": object{"0": object{
			"type": "pbkdf2", "keyslots": names, "segments": []any{"0"}, "hash": d.hash, "iterations": iterations,
			"salt": text64(salt), "digest": text64(d.pbkdf2(volumeKey, salt, 32)),
		}},
		"config": object{"json_size": strconv.Itoa(headerSize - 4096), "keyslots_size": strconv.Itoa(dataAt - 2*headerSize)},
	}
	if d.edit != nil {
		d.edit(m)
	}
	body := must(json.Marshal(m))
	if len(body) > headerSize-4096 {
		panic(fmt.Sprint("JSON of ", len(body), " bytes"))
	}
	for i := range 2 {
		b := image[i*headerSize:][:headerSize]
		copy(b, []string{"LUKS\xba\xbe\x00\x02", "SKUL\xba\xbe\x00\x02"}[i])
		binary.BigEndian.PutUint64(b[8:], headerSize)
		binary.BigEndian.PutUint64(b[16:], 3) // sequence
		copy(b[24:], "a label")
		copy(b[72:], "sha256")
		copy(b[104:], random(64))
		copy(b[168:], uuid)
		binary.BigEndian.PutUint64(b[256:], uint64(i*headerSize))
		copy(b[4096:], body)
		if d.editBinary != nil {
			d.editBinary(b, i)
		}
		seal(b)
	}
}

// seal writes the checksum of a header.
func seal(b []byte) {
	clear(b[448:512])
	sum := sha256.Sum256(b)
	copy(b[448:], sum[:])
}

// at returns the value at a path of keys.
func at(m object, names ...string) object {
	for _, n := range names {
		m = m[n].(object)
	}
	return m
}

// Tests that decode cryptsetup's own disks also check the encoder. This test only checks that the
// encoder does what the tests expect.
func TestEncoder(t *testing.T) {
	image, content := disk{}.make()
	if bytes.Contains(image, content[:512]) {
		t.Error("the content is not encrypted")
	}
	if !bytes.Contains(image[headerSize:], []byte("SKUL")) {
		t.Error("no second header")
	}
}
