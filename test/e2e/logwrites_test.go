package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/xmlfmt"
)

// sectorBytes is the unit of dm-log-writes, and of atomic writes to a disk.
const sectorBytes = 512

// A logEntry is an entry of a log of dm-log-writes: a write, a flush, or both. Entries are in the
// order in which the disk completed them. A write without fua is durable after the next flush.
type logEntry struct {
	off        int64 // in bytes
	data       []byte
	flush, fua bool // the flush comes before the write
}

// superblock reports whether the entry writes block 0.
func (e *logEntry) superblock() bool { return len(e.data) > 0 && e.off == 0 }

// readLog reads a log in the format of Documentation/admin-guide/device-mapper/log-writes.rst: a
// superblock in the first sector, then entries of one sector each, followed by their data.
func readLog(log []byte) ([]logEntry, error) {
	const (
		magic                     = 0x6a736677736872
		flush, fua, discard, mark = 1, 2, 4, 8
	)
	le := binary.LittleEndian
	if le.Uint64(log) != magic || le.Uint64(log[8:]) != 1 || le.Uint32(log[24:]) != sectorBytes {
		return nil, errors.New("not a log of version 1 with sectors of 512 bytes")
	}
	var entries []logEntry
	at := uint64(sectorBytes)
	for i := range le.Uint64(log[16:]) {
		if at+sectorBytes > uint64(len(log)) {
			return nil, fmt.Errorf("entry %d is beyond the end", i)
		}
		sector, n, flags := le.Uint64(log[at:]), le.Uint64(log[at+8:]), le.Uint64(log[at+16:])
		at += sectorBytes
		if flags&mark != 0 {
			continue
		}
		if flags&discard != 0 || n > (uint64(len(log))-at)/sectorBytes {
			return nil, fmt.Errorf("entry %d: %d sectors from %d, flags %#x", i, n, sector, flags)
		}
		entries = append(entries, logEntry{
			off: int64(sector) * sectorBytes, data: log[at : at+n*sectorBytes],
			flush: flags&flush != 0, fua: flags&fua != 0,
		})
		at += n * sectorBytes
	}
	return entries, nil
}

// replay builds possible contents of the disk after a power cut at any moment, starting from image, and
// passes them to judge until that fails. It returns the content of the disk at the end.
//
// It tries the whole log up to some entry, and any subset of the sectors written since a flush. For
// each flush, a few subsets concern the superblock, and some are random.
func replay(entries []logEntry, image []byte, random int, judge func(image []byte) error) ([]byte, error) {
	r := rand.New(rand.NewPCG(1, 2))
	durable := bytes.Clone(image)
	var pending []logEntry
	with := func(keep func(e *logEntry, sector int) bool) []byte {
		left := bytes.Clone(durable)
		for i := range pending {
			for at := 0; at < len(pending[i].data); at += sectorBytes {
				if keep(&pending[i], at/sectorBytes) {
					copy(left[pending[i].off+int64(at):], pending[i].data[at:at+sectorBytes])
				}
			}
		}
		return left
	}
	all := func(*logEntry, int) bool { return true }
	cut := func() error {
		if len(pending) == 0 {
			return nil
		}
		states := [][]byte{
			with(func(e *logEntry, at int) bool { return e.superblock() && at < block.Size/sectorBytes }),
			with(func(e *logEntry, at int) bool { return !e.superblock() || at >= block.Size/sectorBytes }),
			with(func(e *logEntry, at int) bool { return e.superblock() && at == 0 }),
		}
		for i := range random {
			share := []float64{0.5, 0.03, 0.97}[i%3]
			whole := i%2 == 0 // no write is torn
			var kept map[*logEntry]bool
			if whole {
				kept = map[*logEntry]bool{}
				for i := range pending {
					kept[&pending[i]] = r.Float64() < share
				}
			}
			states = append(states, with(func(e *logEntry, _ int) bool {
				if whole {
					return kept[e]
				}
				return r.Float64() < share
			}))
		}
		for _, s := range states {
			if err := judge(s); err != nil {
				return fmt.Errorf("some of %d writes since a flush: %w", len(pending), err)
			}
		}
		return nil
	}
	for i, e := range entries {
		if e.flush || e.fua {
			if err := cut(); err != nil {
				return nil, err
			}
		}
		if e.flush {
			durable, pending = with(all), nil
		}
		if len(e.data) > 0 {
			pending = append(pending, e)
		}
		left := with(all)
		if err := judge(left); err != nil {
			return nil, fmt.Errorf("after entry %d of %d: %w", i+1, len(entries), err)
		}
		if e.fua {
			copy(durable[e.off:], e.data)
		}
	}
	return with(all), cut()
}

// withoutFlushes returns the log of a tool that never flushes.
func withoutFlushes(entries []logEntry) []logEntry {
	var left []logEntry
	for _, e := range entries {
		if len(e.data) > 0 {
			left = append(left, logEntry{off: e.off, data: e.data})
		}
	}
	return left
}

// superblockFirst returns the log of a tool that first writes the superblock.
func superblockFirst(entries []logEntry) []logEntry {
	super, others := takeSuperblock(entries)
	return slices.Insert(others, 0, super)
}

// superblockLast returns the log of a tool that writes the superblock last.
func superblockLast(entries []logEntry) []logEntry {
	super, others := takeSuperblock(entries)
	return append(others, super)
}

// takeSuperblock returns the last write of block 0, and all other entries.
func takeSuperblock(entries []logEntry) (super logEntry, others []logEntry) {
	for i, e := range slices.Backward(entries) {
		if e.superblock() {
			return e, slices.Delete(slices.Clone(entries), i, i+1)
		}
	}
	return logEntry{}, entries
}

// A judge compares states of a metadata device with the two right ones.
type judge struct {
	ctx       context.Context
	old, made string                     // from story
	known     map[[sha256.Size]byte]bool // states already judged
	seen      map[string]int             // results of judging
}

func newJudge(ctx context.Context, old, made []byte) (*judge, error) {
	j := &judge{ctx: ctx, old: story(ctx, old), made: story(ctx, made), known: map[[sha256.Size]byte]bool{}, seen: map[string]int{}}
	if j.old == j.made {
		return nil, errors.New("the old and the new metadata are alike")
	}
	return j, nil
}

// judge returns an error if the kernel would accept image although it is neither the old nor the new
// metadata, or if the kernel would format it.
func (j *judge) judge(image []byte) error {
	var block0 block.Data
	copy(block0[:], image)
	if block0 == (block.Data{}) {
		return errors.New("block 0 is all zero, which the kernel formats")
	}
	sum := sha256.Sum256(image)
	if j.known[sum] {
		return nil
	}
	j.known[sum] = true
	if _, err := metadata.DecodeSuperblock(metadata.SuperblockLocation, &block0); err != nil {
		j.seen["refused"]++
		return nil
	}
	switch got := story(j.ctx, image); got {
	case j.old:
		j.seen["old"]++
	case j.made:
		j.seen["new"]++
	default:
		return fmt.Errorf("a valid superblock, and neither the old metadata nor the new:\n%.300s", got)
	}
	return nil
}

// String reports how many different states were seen.
func (j *judge) String() string {
	return fmt.Sprintf("%d states: %d old, %d refused, %d new", len(j.known), j.seen["old"], j.seen["refused"], j.seen["new"])
}

// story returns what the tools find in metadata: its faults, and its dump up to the first error.
func story(ctx context.Context, image []byte) string {
	var b strings.Builder
	dev := blocktest.NewMemFrom(image)
	if _, err := check.Run(ctx, dev, check.Options{}, func(f check.Fault) { fmt.Fprintf(&b, "%s: %s\n", f.Severity, f.String()) }); err != nil {
		fmt.Fprintf(&b, "check: %v\n", err)
	}
	p, err := metadata.Open(dev, metadata.Options{})
	if err == nil {
		err = dump.Run(ctx, p, dump.Options{}, xmlfmt.NewWriter(&b, xmlfmt.Style1))
	}
	if err != nil {
		fmt.Fprintf(&b, "dump: %v\n", err)
	}
	return b.String()
}
