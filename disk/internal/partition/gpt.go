package partition

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"
)

// Offsets in a GPT header and its entries.
const (
	gptMagic      = "EFI PART"
	gptHeaderSize = 12
	gptHeaderCRC  = 16
	gptMyLBA      = 24
	gptTable      = 72
	gptEntries    = 80
	gptEntrySize  = 84
	gptTableCRC   = 88
	gptHeader     = 92

	gptFirst = 32
	gptLast  = 40
	gptName  = 56
	gptEntry = 128
)

// Limits of a table. 128 entries of 128 bytes are usual.
const (
	mostEntries   = 1024
	mostEntrySize = 4096
)

// errNotGPT means that there is no valid GPT at a position.
var errNotGPT = errors.New("no valid GPT header")

// gpt looks for a GPT with either sector size, first at the start and then at the end.
func (t *reader) gpt() {
	for _, backup := range []bool{false, true} {
		for _, sector := range []int64{mbrSector, 4096} {
			at := sector
			if backup {
				at = t.size/sector*sector - sector
			}
			if t.gptAt(at, sector); t.err != nil {
				return
			}
			if t.Scheme != "" {
				if backup {
					t.problem("the primary GPT is damaged: using the backup at the end")
				}
				return
			}
		}
	}
}

// gptAt reads the table of the header at an offset, if both are valid.
func (t *reader) gptAt(at, sector int64) {
	table, size, err := t.gptTable(at, sector)
	switch {
	case errors.Is(err, errNotGPT):
		return
	case err != nil:
		t.err = err
		return
	}
	t.Scheme = "gpt"
	for i := 0; i*size < len(table); i++ {
		e := table[i*size:][:size]
		if allZero(e[:16]) {
			continue
		}
		first, last := le.Uint64(e[gptFirst:]), le.Uint64(e[gptLast:])
		p := Partition{Number: i + 1, Type: guid(e), Name: name(e[gptName:gptEntry])}
		if limit := uint64(1) << 50; first == 0 || last < first || last > limit {
			t.problem("%v has sectors %d..%d", p, first, last)
			continue
		}
		p.Start, p.Size = int64(first)*sector, int64(last-first+1)*sector
		t.add(p)
	}
}

// gptTable returns the entries and their size.
func (t *reader) gptTable(at, sector int64) ([]byte, int, error) {
	if at < 0 || at > t.size-gptHeader {
		return nil, 0, errNotGPT
	}
	h := make([]byte, min(sector, t.size-at))
	if err := t.read(h, at); err != nil {
		return nil, 0, err
	}
	length := le.Uint32(h[gptHeaderSize:])
	if string(h[:8]) != gptMagic || length < gptHeader || uint64(length) > uint64(len(h)) {
		return nil, 0, errNotGPT
	}
	stored := le.Uint32(h[gptHeaderCRC:])
	clear(h[gptHeaderCRC:][:4])
	entries, size := le.Uint32(h[gptEntries:]), le.Uint32(h[gptEntrySize:])
	start := le.Uint64(h[gptTable:])
	switch {
	case crc32.ChecksumIEEE(h[:length]) != stored, le.Uint64(h[gptMyLBA:]) != uint64(at/sector),
		entries > mostEntries, size < gptEntry, size > mostEntrySize,
		start > uint64(t.size/sector), int64(start)*sector > t.size-int64(entries*size):
		return nil, 0, errNotGPT
	}
	table := make([]byte, entries*size)
	if err := t.read(table, int64(start)*sector); err != nil {
		return nil, 0, err
	}
	if crc32.ChecksumIEEE(table) != le.Uint32(h[gptTableCRC:]) {
		return nil, 0, errNotGPT
	}
	return table, int(size), nil
}

func allZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}

// guid formats a GUID. Its first three parts are little-endian.
func guid(p []byte) string {
	return fmt.Sprintf("%08X-%04X-%04X-%X-%X", le.Uint32(p), le.Uint16(p[4:]), le.Uint16(p[6:]), p[8:10], p[10:16])
}

func name(p []byte) string {
	units := make([]uint16, len(p)/2)
	for i := range units {
		units[i] = le.Uint16(p[2*i:])
	}
	text, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	return text
}
