package undo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/undo"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
)

var le = binary.LittleEndian

// sum corrects the checksum at the end of an undo file.
func sum(file []byte) []byte {
	body := file[:len(file)-sha256.Size]
	s := sha256.Sum256(body)
	return append(slices.Clone(body), s[:]...)
}

// at returns block i of an undo file.
func at(file []byte, i int) *block.Data { return (*block.Data)(file[i*block.Size:]) }

// A forgery changes a file, before its checksum is corrected.
type forgery func(file []byte) []byte

// onSuperblock changes the superblock in block i of a file and updates its checksum.
func onSuperblock(i int, change func(*metadata.Superblock)) forgery {
	return func(file []byte) []byte {
		sb, _ := metadata.DecodeSuperblock(0, at(file, i))
		change(&sb)
		*at(file, i) = sb.Amend(*at(file, i))
		return file
	}
}

// anyVersion returns forgeries of fields that both versions have.
func anyVersion() map[string]forgery {
	const block0 = 1
	put := func(offset int, value uint64) forgery {
		return func(file []byte) []byte {
			le.PutUint64(file[offset:], value)
			return file
		}
	}
	return map[string]forgery{
		"no blocks":        put(24, 0),
		"2^61 blocks":      put(24, 1<<61),
		"position too big": put(32, 1<<40),
		"header, bytes 12": func(file []byte) []byte { file[12] = 1; return file },
		"header, bytes 40": put(40, 1),
		"header, its end":  put(block.Size-8, 1),
		"new superblock: all zero": func(file []byte) []byte {
			*at(file, block0) = block.Data{}
			return file
		},
		"new superblock: a node": func(file []byte) []byte {
			block.Reseal(at(file, block0), block.Node)
			return file
		},
		"new superblock: of another block": func(file []byte) []byte {
			block.Seal(1, at(file, block0), block.Superblock)
			return file
		},
		"new superblock: another magic": func(file []byte) []byte {
			at(file, block0)[32]++
			block.Reseal(at(file, block0), block.Superblock)
			return file
		},
		"new superblock: too many blocks": onSuperblock(block0, func(sb *metadata.Superblock) {
			sb.MetadataSpaceMap.NrBlocks = 1 << 20
		}),
		"new superblock: text at its end": func(file []byte) []byte {
			copy(at(file, block0)[4000:], "anything")
			block.Reseal(at(file, block0), block.Superblock)
			return file
		},
	}
}

// Apply refuses a file that no repair writes, even with a valid checksum, and even if block 0 of the
// device matches it.
func TestForged(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	r := repair(t, image)
	good := saved(t, image, r)
	released, n := len(r.Released()), len(r.Released())+1+len(r.Blocks())
	if released < 2 || len(r.Blocks()) < 2 {
		t.Fatal("too little is changed")
	}
	const table = 2 * block.Size
	old := 3 + released
	number := func(i int, value uint64) forgery {
		return func(file []byte) []byte {
			le.PutUint64(file[table+8*i:], value)
			return file
		}
	}
	all := anyVersion()
	all["version"] = func(file []byte) []byte { file[8] = 3; return file }
	all["position of another block"] = func(file []byte) []byte { le.PutUint64(file[32:], 0); return file }
	all["a block beyond the end"] = number(0, uint64(len(image)/block.Size))
	all["a block twice"] = number(0, uint64(r.Released()[1]))
	all["a block released and written"] = number(released+1, uint64(r.Released()[0]))
	all["block 0 twice"] = number(0, 0)
	all["a number too many"] = number(n, 1)
	all["old superblock: something else"] = func(file []byte) []byte {
		copy(at(file, old)[:], somethingElse(block.Size))
		return file
	}
	all["old superblock: another mapping root"] = func(file []byte) []byte {
		le.PutUint64(at(file, old)[320:], 1)
		block.Reseal(at(file, old), block.Superblock)
		return file
	}
	forgeries(t, good, all)
}

func TestForgedAll(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	_, good := remake(t, image)
	all := anyVersion()
	all["position"] = func(file []byte) []byte { le.PutUint64(file[32:], 1); return file }
	all["a block less"] = func(file []byte) []byte {
		le.PutUint64(file[24:], uint64(len(image)/block.Size-1))
		return slices.Delete(file, len(file)-sha256.Size-block.Size, len(file)-sha256.Size)
	}
	all["a smaller device"] = func(file []byte) []byte { le.PutUint64(file[16:], uint64(len(image)/2)); return file }
	all["a larger device"] = func(file []byte) []byte { le.PutUint64(file[16:], uint64(2*len(image))); return file }
	forgeries(t, good, all)
}

func forgeries(t *testing.T, good []byte, all map[string]forgery) {
	t.Helper()
	if err := open(t, good); err != nil {
		t.Fatal(err)
	}
	for name, forge := range all {
		if err := open(t, sum(forge(slices.Clone(good)))); err == nil {
			t.Errorf("%s: the file is taken", name)
		}
	}
}

func open(t testing.TB, file []byte) error {
	t.Helper()
	_, err := undo.Open(t.Context(), bytes.NewReader(file), int64(len(file)))
	return err
}

// Apply does not write to a device with other content, even with a file made for it.
func TestSomethingElse(t *testing.T) {
	leaky := fixtures.Leaky(t).Contents()
	device := somethingElse(len(leaky))
	r := repair(t, leaky)
	refusedOther(t, "in place", saved(t, leaky, r), device)

	_, remade := remake(t, leaky)
	refusedOther(t, "remade", remade, device)

	// The file says that the device was like this before.
	_, over := remakeOver(t, leaky, device)
	copy(at(over, 5)[:], "and now something different")
	refused(t, "block 0 as before", sum(over), device)

	// The file says that a repair of this device was interrupted while it wrote block 0: half of it is
	// the invalidated block, half is the new one.
	clear(device[7*sector : block.Size])
	_, torn := remakeOver(t, leaky, device)
	forgeSpoiled(at(torn, 2))
	spoiled := *at(torn, 2)
	block.Invalidate(&spoiled)
	if !bytes.Equal(spoiled[:7*sector], device[:7*sector]) {
		t.Fatal("block 0 is not what it should be")
	}
	refusedOther(t, "torn", sum(torn), device)
}

// forgeSpoiled changes the end of b so that b starts with four zeroes when invalidated.
func forgeSpoiled(b *block.Data) {
	const at = block.Size - 4
	field := func(bytes uint32) uint32 {
		le.PutUint32(b[at:], bytes)
		spoiled := *b
		le.PutUint32(spoiled[:], 0)
		return block.Salt(&spoiled) // the register, which Invalidate writes
	}
	// The register is linear in the bits. Collect what each bit changes, in a form where every row has
	// its own highest bit.
	zero := field(0)
	var changes, causes [32]uint32
	for i := range 32 {
		change, cause := field(1<<i)^zero, uint32(1)<<i
		for change != 0 {
			top := bits.Len32(change) - 1
			if changes[top] == 0 {
				changes[top], causes[top] = change, cause
				break
			}
			change, cause = change^changes[top], cause^causes[top]
		}
	}
	bytes := uint32(0)
	for top := 31; top >= 0; top-- {
		if zero>>top&1 != 0 {
			zero, bytes = zero^changes[top], bytes^causes[top]
		}
	}
	field(bytes)
}

func refusedOther(t *testing.T, name string, file, image []byte) {
	t.Helper()
	dev := blocktest.NewMemFrom(slices.Clone(image))
	if err := apply(t, file, dev); !errors.Is(err, undo.ErrOther) && (err == nil || err.Error() != begins+". Nothing was written") {
		t.Errorf("%s: error %v, want %v", name, err, undo.ErrOther)
	}
	if dev.Ops() != 0 {
		t.Errorf("%s: the device was written to", name)
	}
}

// The device was reused after the repair, without a change to block 0.
func TestMadeSince(t *testing.T) {
	image := fixtures.Leaky(t).Contents()
	b, file := remake(t, image)
	dev := blocktest.NewMemFrom(slices.Clone(image))
	if err := b.Write(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	remade := dev.Contents()
	spoiled := slices.Clone(image)
	block.Invalidate((*block.Data)(spoiled[:block.Size]))
	for name, p := range map[string][]byte{"complete": remade, "interrupted": spoiled} {
		copy(p[block.Size:], begins)
		refused(t, name, file, p)
	}
}
