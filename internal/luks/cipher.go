package luks

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"strings"
)

var le = binary.LittleEndian

// A decrypter decrypts sectors. It is safe for concurrent use.
type decrypter interface {
	// decrypt decrypts a sector in place. number counts sectors of 512 bytes, whatever the sector
	// size. scratch has at least the sector size.
	decrypt(p, scratch []byte, number uint64)
}

// ciphers are the supported ciphers. The initial vector is the 64-bit sector number, its lower 32
// bits, or the encrypted number (essiv).
var ciphers = map[string]func(key []byte) (decrypter, error){
	"aes-xts-plain64":      func(key []byte) (decrypter, error) { return newXTS(key, ^uint64(0)) },
	"aes-xts-plain":        func(key []byte) (decrypter, error) { return newXTS(key, 1<<32-1) },
	"aes-cbc-plain64":      func(key []byte) (decrypter, error) { return newCBC(key, ^uint64(0), false) },
	"aes-cbc-plain":        func(key []byte) (decrypter, error) { return newCBC(key, 1<<32-1, false) },
	"aes-cbc-essiv:sha256": func(key []byte) (decrypter, error) { return newCBC(key, ^uint64(0), true) },
}

func cipherKnown(spec string) error {
	if _, ok := ciphers[spec]; !ok {
		return fmt.Errorf("cipher %s is not supported", quote(spec))
	}
	return nil
}

// newCipher creates a decrypter. Its errors do not reveal the key.
func newCipher(spec string, key []byte) (decrypter, error) {
	if err := cipherKnown(spec); err != nil {
		return nil, err
	}
	n := len(key)
	if strings.HasPrefix(spec, "aes-xts-") {
		n /= 2
	}
	if n != 16 && n != 24 && n != 32 || len(key)%n != 0 {
		return nil, fmt.Errorf("cipher %s with a key of %d bytes", spec, len(key))
	}
	return ciphers[spec](key)
}

// decryptSectors decrypts sectors of the given size. number is that of the first one.
func decryptSectors(c decrypter, p []byte, size int, number uint64) {
	scratch := make([]byte, size)
	for ; len(p) > 0; p = p[size:] {
		c.decrypt(p[:size], scratch, number)
		number += uint64(size / sector)
	}
}

// xtsAES is AES in XTS mode. golang.org/x/crypto goes block by block, and each step waits for the
// previous one. Here, the tweaks of a sector are computed first, so that the processor can work on
// several blocks at once. That is more than twice as fast.
type xtsAES struct {
	data, tweak cipher.Block
	mask        uint64
}

func newXTS(key []byte, mask uint64) (decrypter, error) {
	half := len(key) / 2
	data, err := aes.NewCipher(key[:half])
	if err != nil {
		return nil, err
	}
	tweak, err := aes.NewCipher(key[half:])
	return xtsAES{data, tweak, mask}, err
}

func (x xtsAES) decrypt(p, scratch []byte, number uint64) {
	tweaks := scratch[:len(p)]
	x.tweaks(tweaks, number&x.mask)
	subtle.XORBytes(p, p, tweaks)
	for i := 0; i+aes.BlockSize <= len(p); i += aes.BlockSize {
		b := p[i : i+aes.BlockSize]
		x.data.Decrypt(b, b)
	}
	subtle.XORBytes(p, p, tweaks)
}

// tweaks fills p. The first tweak is the encrypted sector number. Each of the others is twice the
// one before, in the field of 2^128 elements with the polynomial x^128+x^7+x^2+x+1.
func (x xtsAES) tweaks(p []byte, number uint64) {
	first := p[:aes.BlockSize]
	le.PutUint64(first, number)
	clear(first[8:])
	x.tweak.Encrypt(first, first)
	lo, hi := le.Uint64(first), le.Uint64(first[8:])
	for ; len(p) >= aes.BlockSize; p = p[aes.BlockSize:] {
		le.PutUint64(p, lo)
		le.PutUint64(p[8:], hi)
		carry := hi >> 63
		hi = hi<<1 | lo>>63
		lo = lo<<1 ^ carry*0x87
	}
}

// cbcAES is AES in CBC mode, with each sector on its own.
type cbcAES struct {
	data  cipher.Block
	essiv cipher.Block // nil: the initial vector is the sector number
	mask  uint64
}

func newCBC(key []byte, mask uint64, essiv bool) (decrypter, error) {
	c := cbcAES{mask: mask}
	var err error
	if c.data, err = aes.NewCipher(key); err != nil || !essiv {
		return c, err
	}
	hashed := sha256.Sum256(key)
	defer clear(hashed[:])
	c.essiv, err = aes.NewCipher(hashed[:])
	return c, err
}

func (c cbcAES) decrypt(p, scratch []byte, number uint64) {
	iv := scratch[:aes.BlockSize]
	le.PutUint64(iv, number&c.mask)
	clear(iv[8:])
	if c.essiv != nil {
		c.essiv.Encrypt(iv, iv)
	}
	// From the end: a block needs the encrypted one before it.
	for i := len(p) - aes.BlockSize; i >= 0; i -= aes.BlockSize {
		b, before := p[i:i+aes.BlockSize], iv
		if i > 0 {
			before = p[i-aes.BlockSize : i]
		}
		c.data.Decrypt(b, b)
		subtle.XORBytes(b, b, before)
	}
}
