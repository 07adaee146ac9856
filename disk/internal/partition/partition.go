// Package partition finds the partitions of a disk image: MBR with logical partitions, and GPT with
// sectors of 512 or 4096 bytes.
//
// An MBR is in sector 0:
//
//	446  4×16  entries: type at 4, first sector at 8, number of sectors at 12
//	510     2  55 AA
//
// A GPT has a header in the next sector and a copy in the last sector of the disk:
//
//	 0  8  "EFI PART"               72  8  first sector of the table
//	12  4  size of the header       80  4  number of entries
//	16  4  CRC-32 of the header     84  4  size of an entry
//	24  8  sector of this header    88  4  CRC-32 of the table
//
// An entry has the type at 0, the first and the last sector at 32 and 40, and a name at 56. An
// image does not say how large its sectors are: that follows from the position of the header. All
// integers are little-endian.
package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata/block"
)

// A Partition is a part of a disk. It is entirely within the disk.
type Partition struct {
	Number int    // as in Linux: logical ones start at 5
	Scheme string // "mbr" or "gpt"
	Type   string // two hexadecimal digits, or a GUID
	Name   string // GPT only
	Start  int64  // bytes
	Size   int64
}

func (p Partition) String() string { return fmt.Sprintf("partition %d", p.Number) }

// A Table is a disk's partition table.
type Table struct {
	Scheme     string // "mbr", "gpt"; empty if there is no table
	Partitions []Partition
	Problems   []string // oddities of the table
	Beyond     bool     // it has partitions beyond the end of the disk
}

// Offsets in an MBR, in boot records of the extended partition, and in their entries.
const (
	mbrEntries    = 446
	mbrEntrySize  = 16
	mbrSignature  = 510
	entType       = 4
	entFirst      = 8
	entCount      = 12
	mbrSector     = block.SectorSize
	firstLogical  = 5
	mostLogical   = 128 // limits the chain of boot records
	typeGPT       = 0xee
	mbrPartitions = 4
)

var le = binary.LittleEndian

// Read reads the partition table of a disk of size bytes. A disk without one gives an empty Table.
// An error means that the disk could not be read; faults of the table are listed in its Problems.
func Read(r io.ReaderAt, size int64) (Table, error) {
	t := &reader{r: r, size: size}
	if size < 2*mbrSector {
		return Table{}, nil
	}
	mbr, err := t.sector(0)
	if err != nil {
		return Table{}, err
	}
	signed := hasSignature(mbr)
	if !signed || protective(mbr) {
		if t.gpt(); t.err != nil || t.Scheme != "" {
			return t.Table, t.err
		}
		if signed {
			t.problem("a protective MBR, but no valid GPT")
		}
	}
	if signed {
		t.mbr(mbr)
	}
	return t.Table, t.err
}

type reader struct {
	Table
	r    io.ReaderAt
	size int64
	err  error // of the device, not of its content
}

func (t *reader) problem(format string, args ...any) {
	const most = 50
	if len(t.Problems) < most {
		t.Problems = append(t.Problems, fmt.Sprintf(format, args...))
	}
}

func (t *reader) sector(nr int64) ([]byte, error) {
	p := make([]byte, mbrSector)
	return p, t.read(p, nr*mbrSector)
}

func (t *reader) read(p []byte, off int64) error {
	n, err := t.r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("partition table at byte %d: %w", off, err)
}

func hasSignature(p []byte) bool { return p[mbrSignature] == 0x55 && p[mbrSignature+1] == 0xaa }

func entry(p []byte, i int) (kind byte, first, count int64) {
	e := p[mbrEntries+i*mbrEntrySize:]
	return e[entType], int64(le.Uint32(e[entFirst:])), int64(le.Uint32(e[entCount:]))
}

func protective(p []byte) bool {
	for i := range mbrPartitions {
		if kind, _, _ := entry(p, i); kind == typeGPT {
			return true
		}
	}
	return false
}

func isExtended(kind byte) bool { return kind == 0x05 || kind == 0x0f || kind == 0x85 }

// add adds a partition, cut to the part that is on the disk.
func (t *reader) add(p Partition) {
	switch {
	case p.Start >= t.size:
		t.problem("%v starts at byte %d, beyond the end of the image", p, p.Start)
		t.Beyond = true
		return
	case p.Size > t.size-p.Start:
		t.problem("%v ends %d bytes beyond the end of the image", p, p.Size-(t.size-p.Start))
		p.Size, t.Beyond = t.size-p.Start, true
	}
	p.Scheme = t.Scheme
	t.Partitions = append(t.Partitions, p)
}

// mbr adds the partitions of an MBR. The boot sector of a file system has the same signature, but
// no valid entries.
func (t *reader) mbr(p []byte) {
	for i := range mbrPartitions {
		if status := p[mbrEntries+i*mbrEntrySize]; status&0x7f != 0 {
			return
		}
	}
	t.Scheme = "mbr"
	next := firstLogical
	for i := range mbrPartitions {
		kind, first, count := entry(p, i)
		switch {
		case kind == 0 || count == 0 || first == 0 || kind == typeGPT:
		case isExtended(kind):
			next = t.logical(first, next)
		default:
			t.add(Partition{Number: i + 1, Type: fmt.Sprintf("%02x", kind), Start: first * mbrSector, Size: count * mbrSector})
		}
	}
	if len(t.Partitions) == 0 && len(t.Problems) == 0 {
		t.Scheme = ""
	}
}

// logical adds the partitions in an extended one. In each boot record, entry 0 is relative to the
// record. Entry 1 points to the next record, relative to the start of the extended partition.
func (t *reader) logical(extended int64, number int) int {
	seen := map[int64]bool{}
	for at := extended; ; {
		if seen[at] || len(seen) == mostLogical {
			t.problem("the chain of logical partitions is endless")
			return number
		}
		seen[at] = true
		if at*mbrSector > t.size-mbrSector {
			t.problem("the boot record of logical partition %d lies beyond the end of the image", number)
			return number
		}
		p, err := t.sector(at)
		if err != nil {
			t.err = err
			return number
		}
		if !hasSignature(p) {
			t.problem("the boot record of logical partition %d has no signature", number)
			return number
		}
		if kind, first, count := entry(p, 0); kind != 0 && count != 0 {
			t.add(Partition{Number: number, Type: fmt.Sprintf("%02x", kind), Start: (at + first) * mbrSector, Size: count * mbrSector})
			number++
		}
		kind, first, _ := entry(p, 1)
		if !isExtended(kind) || first == 0 {
			return number
		}
		at = extended + first
	}
}
