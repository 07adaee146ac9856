package block_test

import (
	"math/rand/v2"
	"testing"

	"thinpool/metadata/block"
)

// sealed returns a block of the given kind with content that depends on seed.
func sealed(nr block.Nr, kind block.Kind, seed uint64) block.Data {
	rnd := rand.New(rand.NewPCG(seed, 0))
	var b block.Data
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	block.Seal(nr, &b, kind)
	return b
}

// Every single flipped bit is found, in blocks of all kinds, except for the few that could also be
// another bit in a block of another kind.
func TestCorrect(t *testing.T) {
	tried, unsure := 0, 0
	for kind := block.Superblock; kind <= block.Index; kind++ {
		nr := block.Nr(7 * kind)
		want := sealed(nr, kind, uint64(kind))
		for bit := int(kind); bit < block.Size*8; bit += 5 {
			b := want
			b[bit/8] ^= 1 << (bit % 8)
			flip, ok := block.Correct(nr, &b)
			tried++
			if !ok {
				unsure++
				continue
			}
			if b != want || flip != (block.Correction{Block: nr, Kind: kind, Byte: bit / 8, Mask: 1 << (bit % 8)}) {
				t.Fatalf("%v, bit %d: %+v", kind, bit, flip)
			}
		}
	}
	if unsure*1000 > tried {
		t.Errorf("%d of %d flips were not found", unsure, tried)
	}
}

// Damage to one byte of the checksum field is corrected.
func TestCorrectChecksum(t *testing.T) {
	for kind := block.Superblock; kind <= block.Index; kind++ {
		want := sealed(5, kind, uint64(kind))
		for at := range 4 {
			for _, value := range []byte{0, 0xff, 0x5a} {
				b := want
				if b[at] = value; b == want {
					continue
				}
				correction, ok := block.Correct(5, &b)
				if !ok || b != want || correction != (block.Correction{Block: 5, Kind: kind, Byte: at, Mask: want[at] ^ value}) {
					t.Errorf("%v, byte %d set to %#x: %+v, %v", kind, at, value, correction, ok)
				}
			}
		}
	}
}

// Blocks without a single flipped bit stay as they are: two flipped bits, a block from elsewhere,
// zeroes, noise, and a sound block.
func TestCorrectLeavesAlone(t *testing.T) {
	sound, elsewhere, zero := sealed(9, block.Node, 1), sealed(8, block.Node, 1), block.Data{}
	there := elsewhere // damaged too
	there[100] ^= 1
	two := sound
	two[100] ^= 1
	two[2000] ^= 8
	noise := sealed(9, block.Node, 2)
	noise[0] ^= 0xff
	noise[1] ^= 0x10
	for name, was := range map[string]block.Data{"sound": sound, "elsewhere": elsewhere, "elsewhere, flipped": there, "zero": zero, "two bits": two, "noise": noise} {
		b := was
		if flip, ok := block.Correct(9, &b); ok || b != was {
			t.Errorf("%s: %+v, %v", name, flip, ok)
		}
	}
}

// A superblock with bit 6439 flipped is also a node with bit 19170 flipped. Which one it was is
// unknown, so it stays as it is. With any other bit flipped there is no doubt.
func TestCorrectInDoubt(t *testing.T) {
	const one, other = 6439, 19170
	superblock := sealed(9, block.Superblock, 1)
	doubtful := superblock
	doubtful[one/8] ^= 1 << (one % 8)
	node := doubtful
	node[other/8] ^= 1 << (other % 8)
	if block.Verify(9, &superblock, block.Superblock) != nil || block.Verify(9, &node, block.Node) != nil {
		t.Fatal("the block is not in doubt")
	}
	b := doubtful
	if correction, ok := block.Correct(9, &b); ok || b != doubtful || correction != (block.Correction{}) {
		t.Errorf("%+v, %v", correction, ok)
	}
	b = superblock
	b[one/8] ^= 1 << (one%8 - 1)
	if _, ok := block.Correct(9, &b); !ok || b != superblock {
		t.Error("the bit beside it is not corrected")
	}
}

// The first and the last bit that the checksum covers are corrected, and so are those of the self
// reference.
func TestCorrectEnds(t *testing.T) {
	want := sealed(9, block.Index, 3)
	for _, bit := range []int{0, 31, 32, 64, 127, block.Size*8 - 1} {
		b := want
		b[bit/8] ^= 1 << (bit % 8)
		correction, ok := block.Correct(9, &b)
		if !ok || b != want || correction != (block.Correction{Block: 9, Kind: block.Index, Byte: bit / 8, Mask: 1 << (bit % 8)}) {
			t.Errorf("bit %d: %+v, %v", bit, correction, ok)
		}
	}
}

// A correction says which bit it is, if it is one.
func TestCorrectionString(t *testing.T) {
	for want, c := range map[string]block.Correction{
		"bit 0 of byte 0xc8 is flipped":            {Byte: 200, Mask: 1},
		"bit 7 of byte 0xfff is flipped":           {Byte: 4095, Mask: 128},
		"byte 0x3, part of the checksum, is wrong": {Byte: 3, Mask: 129},
	} {
		if got := c.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func FuzzCorrect(f *testing.F) {
	b := sealed(3, block.Bitmap, 3)
	f.Add(uint64(3), b[:])
	b[77] ^= 2
	f.Add(uint64(3), b[:])
	f.Fuzz(func(t *testing.T, nr uint64, content []byte) {
		var b block.Data
		copy(b[:], content)
		was := b
		flip, ok := block.Correct(block.Nr(nr), &b)
		if !ok && b != was {
			t.Error("changed, but not reported")
		}
		if ok && block.Verify(block.Nr(nr), &b, flip.Kind) != nil {
			t.Error("corrected, but not valid")
		}
	})
}
