package check

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// surroundingBlocks is how many blocks are read to learn more about an unusable block: the first
// 64 MiB.
const surroundingBlocks = 64 << 20 / block.Size

// A WipedError says that block 0 is not a valid superblock, but the blocks after it look like
// metadata.
type WipedError struct {
	Blocks uint64 // valid metadata blocks in the first 64 MiB
	Copy   block.Nr
	Err    error // what is wrong with block 0; nil if it is all zero
}

func (e *WipedError) Error() string {
	what := "block 0 was wiped"
	if e.Err != nil {
		what = e.Err.Error()
	}
	text := fmt.Sprintf("%s; %d valid metadata blocks follow in the first 64 MiB", what, e.Blocks)
	if e.Blocks == 1 {
		text = fmt.Sprintf("%s; 1 valid metadata block follows in the first 64 MiB", what)
	}
	if e.Copy != 0 {
		text += fmt.Sprintf(", and block %d holds the content of block 0", e.Copy)
	}
	return text
}

// Unwrap returns the error of block 0.
func (e *WipedError) Unwrap() error {
	if e.Err == nil {
		return block.ErrCorrupt
	}
	return e.Err
}

// advice returns what to do. A single flipped bit needs no special advice.
func (e *WipedError) advice() string {
	if c, ok := errors.AsType[*block.ChecksumError](e.Err); ok && c.Correctable {
		return advice[SuperblockDamaged]
	}
	return adviseWiped
}

// surroundings are what was found at the start of the device.
type surroundings struct {
	valid   uint64                // metadata blocks after block 0
	holders map[block.Nr]block.Nr // where misplaced blocks with a valid checksum are
}

// lookAround reads the start of the device, once. It ignores unreadable blocks.
func (c *checker) lookAround(ctx context.Context) (*surroundings, error) {
	if c.around != nil {
		return c.around, nil
	}
	s := &surroundings{holders: map[block.Nr]block.Nr{}}
	var mu sync.Mutex
	blocks := func(yield func(block.Nr) bool) {
		for nr := block.Nr(1); nr < min(surroundingBlocks, c.r.Blocks()) && yield(nr); nr++ {
		}
	}
	err := c.r.Each(ctx, blocks, func(_ int, nr block.Nr, b *block.Data, err error) error {
		if err != nil || block.KindOf(b) == block.UnknownKind {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		is := block.SelfReference(b)
		if is == nr {
			s.valid++
		} else if old, ok := s.holders[is]; !ok || nr < old {
			s.holders[is] = nr
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.around = s
	return s, nil
}

// badBlock0 reports that block 0 is not a valid superblock; err is nil if it is all zero. The
// blocks after it tell whether the device has metadata.
func (c *checker) badBlock0(ctx context.Context, err error) error {
	around, failed := c.lookAround(ctx)
	if failed != nil {
		return failed
	}
	switch {
	case around.valid > 0:
		err = &WipedError{around.valid, around.holders[metadata.SuperblockLocation], err}
	case err == nil:
		zero, failed := c.allZero(ctx)
		if failed != nil {
			return failed
		}
		if zero {
			c.report(Fault{Code: Unformatted, Severity: Fatal, Err: metadata.ErrUnformatted})
			return nil
		}
		err = errNotMetadata
	}
	c.report(Fault{Code: SuperblockDamaged, Severity: Fatal, Tree: "superblock", Block: new(metadata.SuperblockLocation), Err: err})
	return nil
}

// errNotMetadata says that block 0 is all zero, and what follows is neither zero nor metadata.
var errNotMetadata = errors.New("block 0 is all zero, but the device is not, and has no metadata in its first 64 MiB: is this the pool's metadata (_tmeta)?")

// allZero reports whether all readable blocks are zero.
func (c *checker) allZero(ctx context.Context) (bool, error) {
	used := errors.New("a block is in use")
	blocks := func(yield func(block.Nr) bool) {
		for nr := block.Nr(0); nr < c.r.Blocks() && yield(nr); nr++ {
		}
	}
	err := c.r.Each(ctx, blocks, func(_ int, _ block.Nr, b *block.Data, err error) error {
		if err == nil && *b != (block.Data{}) {
			return used
		}
		return nil
	})
	if errors.Is(err, used) {
		return false, nil
	}
	return err == nil, err
}

// withHolder adds to an error about the unusable block nr where its content was found.
func (c *checker) withHolder(ctx context.Context, nr block.Nr, err error) error {
	_, checksum := errors.AsType[*block.ChecksumError](err)
	_, format := errors.AsType[*block.FormatError](err)
	if nr == 0 || err == nil || errors.Is(err, block.ErrCorrupt) && !checksum && !format {
		return err // the block itself is usable
	}
	around, failed := c.lookAround(ctx)
	if failed != nil { // ctx is done; the check will notice, too
		return err
	}
	if holder, ok := around.holders[nr]; ok {
		return fmt.Errorf("%w; block %d holds the content of block %d", err, holder, nr)
	}
	return err
}
