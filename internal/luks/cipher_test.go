package luks

import (
	"bytes"
	"crypto/aes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"golang.org/x/crypto/xts"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// Vectors 1, 2 and 4 of IEEE 1619-2007; the last one in part.
func TestXTSVectors(t *testing.T) {
	count := make([]byte, 512)
	for i := range count {
		count[i] = byte(i)
	}
	for _, tc := range []struct {
		key    string
		number uint64
		plain  []byte
		begin  string
	}{
		{"0000000000000000000000000000000000000000000000000000000000000000", 0, make([]byte, 32), "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e"},
		{"1111111111111111111111111111111122222222222222222222222222222222", 0x3333333333, bytes.Repeat([]byte{0x44}, 32), "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0"},
		{"2718281828459045235360287471352631415926535897932384626433832795", 0, count, "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"},
	} {
		// The reference implementation computes the rest of the sector; its start is compared with
		// the vector.
		judge, err := xts.NewCipher(aes.NewCipher, unhex(tc.key))
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, len(tc.plain))
		judge.Encrypt(p, tc.plain, tc.number)
		if got := hex.EncodeToString(p[:len(tc.begin)/2]); got != tc.begin {
			t.Fatalf("the judge gives %s, want %s", got, tc.begin)
		}
		c, err := newCipher("aes-xts-plain64", unhex(tc.key))
		if err != nil {
			t.Fatal(err)
		}
		c.decrypt(p, make([]byte, len(p)), tc.number)
		if !bytes.Equal(p, tc.plain) {
			t.Errorf("sector %#x: %x", tc.number, p)
		}
	}
}

// Encrypted with openssl enc: AES-256-CBC with the key 00 01 .. 1f; plain text 00 01 .. ff 00 ..
// ff. The initial vector is the sector number, encrypted with openssl in ECB mode with the SHA-256
// of the key.
func TestESSIVVectors(t *testing.T) {
	key, plain := make([]byte, 32), make([]byte, 512)
	for i := range plain {
		plain[i] = byte(i)
	}
	copy(key, plain)
	for _, tc := range []struct {
		spec             string
		number           uint64
		first, last, sum string
	}{
		{"aes-cbc-essiv:sha256", 0, "06c5a8be287fd6971791889950eccfb2", "f749fd4cbbc3e65154fa9fa112b17fd5", "d57090a1447210fb14e578ff881653049440df41c91d8e3eb5baab3a0ceef36b"},
		{"aes-cbc-essiv:sha256", 1, "604e9628aef2fcc39d3b4e1c6a27defc", "25e7568f34ddfcb0ad69faed1fe5132e", "af44f42835c15b7f4be1d3ebd369e5ed3c0dac230a52ebca66e7f82006a4edba"},
		{"aes-cbc-essiv:sha256", 0x123456789, "787248bb2400bb779efc7e911681e4a5", "73fa0452b72430fcae180e25bc0a58e9", "a61625776a1d434bb2c9e3773e442cd6014be154059f56e26d71df47101dbe7c"},
		{"aes-cbc-plain", 0x123456789, "5770b9406a54c04cacda9f2a1d245c92", "395b072036317182697294c3db8cf628", ""},
	} {
		c, err := newCipher(tc.spec, key)
		if err != nil {
			t.Fatal(err)
		}
		// The first and the last block are known. If both match, so does the reference sector as a
		// whole.
		first := unhex(tc.first)
		c.decrypt(first, make([]byte, 16), tc.number)
		if !bytes.Equal(first, plain[:16]) {
			t.Errorf("%s %#x: first block %x", tc.spec, tc.number, first)
		}
		sector := encryptCBC(t, tc.spec, key, plain, unhex(tc.first))
		if got := hex.EncodeToString(sector[496:]); got != tc.last {
			t.Fatalf("the judge's last block is %s, want %s", got, tc.last)
		}
		if sum := sha256.Sum256(sector); tc.sum != "" && hex.EncodeToString(sum[:]) != tc.sum {
			t.Fatalf("the judge's sector is another one: %x", sum)
		}
		c.decrypt(sector, make([]byte, 512), tc.number)
		if !bytes.Equal(sector, plain) {
			t.Errorf("%s %#x: another sector", tc.spec, tc.number)
		}
	}
}

// encryptCBC encrypts a sector whose first encrypted block is known.
func encryptCBC(t *testing.T, spec string, key, plain, first []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	out := append(bytes.Clone(first), plain[16:]...)
	for i := 16; i < len(out); i += 16 {
		for j := range 16 {
			out[i+j] ^= out[i-16+j]
		}
		block.Encrypt(out[i:i+16], out[i:i+16])
	}
	return out
}

// All sector sizes and numbers match the XTS of golang.org/x/crypto.
func TestXTSJudge(t *testing.T) {
	for _, size := range []int{32, 48, 64} {
		key := make([]byte, size)
		for i := range key {
			key[i] = byte(7 * i)
		}
		judge, err := xts.NewCipher(aes.NewCipher, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCipher("aes-xts-plain64", key)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{512, 1024, 2048, 4096} {
			p := bytes.Repeat([]byte("0123456789abcde"), 8*n/15+1)[:8*n]
			want := bytes.Clone(p)
			first := uint64(1<<32 - 9)
			for i := range 8 {
				judge.Decrypt(want[i*n:][:n], want[i*n:][:n], first+uint64(i*n/512))
			}
			if decryptSectors(c, p, n, first); !bytes.Equal(p, want) {
				t.Errorf("key of %d bytes, sectors of %d: other bytes", size, n)
			}
		}
	}
}

// Two stripes by hand: the hash of the number and the first stripe, piece by piece, plus the second
// stripe.
func TestMerge(t *testing.T) {
	split := []byte("the first stripe is this, of 48 bytes, and it is" + "the second stripe, as long as the first one, not")
	h0 := sha256.Sum256(append([]byte{0, 0, 0, 0}, split[:32]...))
	h1 := sha256.Sum256(append([]byte{0, 0, 0, 1}, split[32:48]...))
	want := append(h0[:], h1[:16]...)
	for i := range want {
		want[i] ^= split[48+i]
	}
	if got := merge(split, 48, 2, sha256.New); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got := merge(split, 48, 1, sha256.New); !bytes.Equal(got, split[:48]) {
		t.Errorf("one stripe: %x", got)
	}
}

func BenchmarkDecrypt(b *testing.B) {
	for _, spec := range []string{"aes-xts-plain64", "aes-cbc-essiv:sha256"} {
		for _, size := range []int{512, 4096} {
			b.Run(fmt.Sprint(spec, "-", size), func(b *testing.B) {
				key := make([]byte, 32)
				c, err := newCipher(spec, key)
				if err != nil {
					b.Fatal(err)
				}
				p := make([]byte, 1<<20)
				b.SetBytes(int64(len(p)))
				for b.Loop() {
					decryptSectors(c, p, size, 0)
				}
			})
		}
	}
}

func BenchmarkReadAt(b *testing.B) {
	key := make([]byte, 64)
	c, err := newCipher("aes-xts-plain64", key)
	if err != nil {
		b.Fatal(err)
	}
	const size = 16 << 20
	v := &Volume{r: bytes.NewReader(make([]byte, size)), size: size, sector: 512, cipher: c}
	for _, n := range []int{4096, 64 << 10, 1 << 20, size} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				if _, err := v.ReadAt(p, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
