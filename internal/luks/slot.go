package luks

import (
	"bytes"
	"cmp"
	"context"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"runtime/debug"
	"slices"
	"sort"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Limits on key slots. cryptsetup stays far below them.
const (
	maxKey        = 64 // bytes: AES-256 in XTS
	maxStripes    = 1 << 16
	maxIterations = 1 << 31
	maxPasses     = 1 << 16 // of argon2
	minDigest     = 20
	maxDigest     = 64
)

var hashes = map[string]func() hash.Hash{
	"sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
}

func hashOf(name string) (func() hash.Hash, error) {
	if h, ok := hashes[name]; ok {
		return h, nil
	}
	return nil, fmt.Errorf("hash %s is not supported", quote(name))
}

// check says why a slot is unusable. Anything it accepts can be computed.
func (s *Slot) check(h *Header) error {
	a, d := s.area, s.digest
	switch {
	case a.key < 1 || a.key > maxKey:
		return fmt.Errorf("a key of %d bytes", a.key)
	case a.areaKey < 1 || a.areaKey > maxKey:
		return fmt.Errorf("an area with a key of %d bytes", a.areaKey)
	case a.stripes < 1 || a.stripes > maxStripes:
		return fmt.Errorf("a key split in %d stripes", a.stripes)
	case a.length() > a.size || a.offset < 0 || a.length() > h.diskSize-a.offset:
		return fmt.Errorf("its key would need %d bytes at byte %d, more than are there", a.length(), a.offset)
	case len(d.sum) < minDigest || len(d.sum) > maxDigest:
		return fmt.Errorf("a digest of %d bytes", len(d.sum))
	}
	_, errCipher := newCipher(h.Cipher, make([]byte, a.key))
	_, errArea := newCipher(a.cipher, make([]byte, a.areaKey))
	_, errSplit := hashOf(a.hash)
	return cmp.Or(errCipher, errArea, errSplit, checkPBKDF2(d.hash, d.iterations), s.checkKDF())
}

// length returns how many bytes of an area contain the key.
func (a area) length() int64 { return roundUp(int64(a.key)*int64(a.stripes), sector) }

func checkPBKDF2(hash string, iterations uint32) error {
	if iterations < 1 || iterations > maxIterations {
		return fmt.Errorf("pbkdf2 with %d iterations", iterations)
	}
	_, err := hashOf(hash)
	return err
}

func (s *Slot) checkKDF() error {
	switch s.KDF {
	case "pbkdf2":
		return checkPBKDF2(s.Hash, s.Iterations)
	case "argon2i", "argon2id":
		switch {
		case s.Iterations < 1 || s.Iterations > maxPasses:
			return fmt.Errorf("%s with %d passes", s.KDF, s.Iterations)
		case s.Threads < 1 || s.Threads > 255:
			return fmt.Errorf("%s with %d threads", s.KDF, s.Threads)
		case s.Memory == 0:
			return fmt.Errorf("%s without memory", s.KDF)
		}
		return nil
	}
	return fmt.Errorf("key derivation %s is not supported", quote(s.KDF))
}

// Unlock tries a key on all slots, in order of priority. It skips slots that need more than
// maxMemory bytes. It returns soon after ctx ends, although a computation may continue in the
// background. A wrong key gives [ErrWrongKey].
func (h *Header) Unlock(ctx context.Context, key []byte, maxMemory int64) (*Volume, error) {
	if len(h.Slots) == 0 {
		return nil, errors.New("all key slots are erased: no key can open it")
	}
	order := slices.Clone(h.Slots)
	sort.SliceStable(order, func(i, j int) bool { return order[i].priority > order[j].priority })
	var skipped []string
	for _, s := range order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := s.Err
		if s.Memory > maxMemory && err == nil {
			err = fmt.Errorf("it needs %dMiB of memory, more than the %dMiB allowed", s.Memory>>20, maxMemory>>20)
		}
		var volumeKey []byte
		if err == nil {
			volumeKey, err = s.open(ctx, h, key)
		}
		switch {
		case err == nil:
			defer clear(volumeKey)
			return h.volume(volumeKey)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.Is(err, ErrWrongKey):
			skipped = append(skipped, fmt.Sprintf("key slot %d: %v", s.Number, err))
		}
	}
	switch reasons := strings.Join(skipped, "; "); {
	case len(skipped) == len(order):
		return nil, fmt.Errorf("no key slot can be tried: %s", reasons)
	case len(skipped) > 0:
		return nil, fmt.Errorf("%w; not tried: %s", ErrWrongKey, reasons)
	}
	return nil, ErrWrongKey
}

// open returns the volume key, or ErrWrongKey.
func (s *Slot) open(ctx context.Context, h *Header, key []byte) ([]byte, error) {
	split := make([]byte, s.area.length())
	defer clear(split)
	if _, err := readFull(h.r, split, s.area.offset); err != nil {
		return nil, err
	}
	areaKey, err := derive(ctx, key, s.kdf)
	if err != nil {
		return nil, err
	}
	defer clear(areaKey)
	c, err := newCipher(s.area.cipher, areaKey)
	if err != nil {
		return nil, err
	}
	decryptSectors(c, split, sector, 0)
	volumeKey := merge(split, s.area.key, s.area.stripes, hashes[s.area.hash])
	sum, err := derive(ctx, volumeKey, s.digest.kdf)
	if err == nil && subtle.ConstantTimeCompare(sum, s.digest.sum) == 0 {
		err = ErrWrongKey
	}
	if err != nil {
		clear(volumeKey)
		return nil, err
	}
	return volumeKey, nil
}

// derive runs a key derivation on a copy of a key. It cannot be interrupted: a late result is
// wiped.
func derive(ctx context.Context, key []byte, kdf func(key []byte) ([]byte, error)) ([]byte, error) {
	type result struct {
		key []byte
		err error
	}
	done := make(chan result, 1)
	own := bytes.Clone(key)
	go func() {
		derived, err := kdf(own)
		clear(own)
		done <- result{derived, err}
	}()
	select {
	case r := <-done:
		return r.key, r.err
	case <-ctx.Done():
		go func() { clear((<-done).key) }()
		return nil, ctx.Err()
	}
}

// kdf derives the area's key from a passphrase.
func (s *Slot) kdf(key []byte) ([]byte, error) {
	if s.KDF == "pbkdf2" {
		return pbkdf2.Key(hashes[s.Hash], string(key), s.salt, int(s.Iterations), s.area.areaKey)
	}
	derive := argon2.IDKey
	if s.KDF == "argon2i" {
		derive = argon2.Key
	}
	// The next slot may need the same amount of memory.
	defer debug.FreeOSMemory()
	return derive(key, s.salt, s.Iterations, uint32(s.Memory>>10), uint8(s.Threads), uint32(s.area.areaKey)), nil
}

// kdf computes the digest of a volume key.
func (d *digest) kdf(key []byte) ([]byte, error) {
	return pbkdf2.Key(hashes[d.hash], string(key), d.salt, int(d.iterations), len(d.sum))
}

// merge recombines a key split by the anti-forensic splitter. It adds and diffuses every stripe
// except the last, then adds the last one.
func merge(split []byte, size, stripes int, newHash func() hash.Hash) []byte {
	key := make([]byte, size)
	for i := range stripes - 1 {
		subtle.XORBytes(key, key, split[i*size:][:size])
		diffuse(key, newHash())
	}
	subtle.XORBytes(key, key, split[(stripes-1)*size:][:size])
	return key
}

// diffuse replaces each hash-sized piece of p with the hash of its number and content.
func diffuse(p []byte, h hash.Hash) {
	for i := uint32(0); len(p) > 0; i++ {
		n := min(h.Size(), len(p))
		h.Reset()
		h.Write(be.AppendUint32(nil, i))
		h.Write(p[:n])
		copy(p[:n], h.Sum(nil))
		p = p[n:]
	}
}
