package generate

import (
	"fmt"
	"math/rand/v2"

	"thinpool/metadata/block"
)

// A Damage is a way to damage metadata blocks.
type Damage string

// The kinds of damage.
const (
	Zero     Damage = "zero"     // the block is all zero
	Flip     Damage = "flip"     // one bit is flipped
	Scribble Damage = "scribble" // some bytes are random
	Misplace Damage = "misplace" // the block holds the content of another
)

// Damages are all kinds of damage.
var Damages = []Damage{Zero, Flip, Scribble, Misplace}

// Spoil damages n blocks in use, never the superblock, and returns them. The seed decides which
// ones.
func Spoil(dev block.Device, kind Damage, n int, seed uint64) ([]block.Nr, error) {
	var used []block.Nr
	var b block.Data
	for nr := block.Nr(1); nr < block.Blocks(dev); nr++ {
		if err := block.Read(dev, nr, &b); err != nil {
			return nil, err
		}
		if block.KindOf(&b) != block.UnknownKind {
			used = append(used, nr)
		}
	}
	if n > len(used) || kind == Misplace && len(used) < 2 {
		return nil, fmt.Errorf("%d blocks are to be damaged, but only %d are in use", n, len(used))
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	var spoilt []block.Nr
	for _, i := range rnd.Perm(len(used))[:n] {
		from := used[i]
		for kind == Misplace && from == used[i] {
			from = used[rnd.IntN(len(used))]
		}
		if err := block.Read(dev, from, &b); err != nil {
			return nil, err
		}
		switch kind {
		case Zero:
			b = block.Data{}
		case Flip:
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		case Scribble:
			at := rnd.IntN(len(b) - 64)
			for j := range 64 {
				b[at+j] = byte(rnd.Uint32())
			}
		}
		if err := block.Write(dev, used[i], &b); err != nil {
			return nil, err
		}
		spoilt = append(spoilt, used[i])
	}
	return spoilt, dev.Flush()
}
