package lvm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"thinpool/disk"
	"thinpool/internal/printable"
)

var le = binary.LittleEndian

// The label is one of the first four sectors of a physical volume:
//
//	 0  8  "LABELONE"                      20  4  offset of the PV header in this sector
//	 8  8  number of this sector           24  8  "LVM2 001"
//	16  4  CRC of bytes 20..511
//
// It contains the PV header, followed by the header's extension. A list of areas consists of pairs:
// an offset from the start of the physical volume and a size, both in bytes. An offset of 0 ends
// the list:
//
//	 0  32    id                           then  4   version of the extension
//	32   8    size of the device, bytes          4   flags: bit 0, in use by a group
//	40  16·n  data areas                        16·n bootloader areas
//	    16·n  metadata areas
const (
	labelSectors = 4
	labelMagic   = "LABELONE"
	labelType    = "LVM2 001"
	offLabelNr   = 8
	offLabelCRC  = 16
	offLabelPV   = 20
	offLabelType = 24
	labelHeader  = 32

	offPVSize  = 32
	offPVAreas = 40
	idSize     = 32
	areaSize   = 16
)

// crcSeed is the initial value of LVM's CRC.
const crcSeed = 0xf597a6cf

// crcUpdate computes LVM's CRC-32: the usual polynomial without inversion at either end. The result
// for one piece is the seed for the next.
func crcUpdate(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, crc32.IEEETable, p) }

// An Area is a part of a physical volume, in bytes from its start. A data area of size 0 extends to
// the end.
type Area struct{ Offset, Size uint64 }

// label has the content of the label and the PV header.
type label struct {
	sector     int
	id         string
	deviceSize uint64
	data       []Area
	metadata   []Area
	boot       []Area
	version    uint32
	flags      uint32
}

// findLabel looks for a label in a region; nil if there is none. It describes sectors that only
// look like a label. Like LVM, it goes on after them.
func findLabel(d *disk.Disk) (l *label, odd []string, err error) {
	p := make([]byte, min(labelSectors*sector, d.Size()))
	if err := d.ReadFull(p, 0); err != nil {
		return nil, nil, err
	}
	for i := range len(p) / sector {
		b := p[i*sector:][:sector]
		if !bytes.HasPrefix(b, []byte(labelMagic)) {
			continue
		}
		l, err := decodeLabel(b, i)
		if err == nil {
			return l, odd, nil
		}
		odd = append(odd, fmt.Sprintf("label-like sector %d of %v %v", i, d, err))
	}
	return nil, odd, nil
}

func decodeLabel(b []byte, nr int) (*label, error) {
	offset := le.Uint32(b[offLabelPV:])
	switch {
	case le.Uint64(b[offLabelNr:]) != uint64(nr):
		return nil, fmt.Errorf("says it is sector %d", le.Uint64(b[offLabelNr:]))
	case crcUpdate(crcSeed, b[offLabelPV:]) != le.Uint32(b[offLabelCRC:]):
		return nil, fmt.Errorf("has a bad CRC")
	case string(b[offLabelType:labelHeader]) != labelType:
		return nil, fmt.Errorf("is of type %q, want %q", b[offLabelType:labelHeader], labelType)
	case offset < labelHeader || offset > sector-offPVAreas:
		return nil, fmt.Errorf("has its PV header at %d", offset)
	}
	b = b[offset:]
	l := &label{sector: nr, id: printable.Text(dashed(string(b[:idSize]))), deviceSize: le.Uint64(b[offPVSize:])}
	b = b[offPVAreas:]
	for _, list := range []*[]Area{&l.data, &l.metadata} {
		if !takeAreas(&b, list) {
			return nil, fmt.Errorf("has an unterminated list of areas")
		}
	}
	const extension = 8
	if len(b) < extension || le.Uint32(b) == 0 {
		return l, nil // older than extensions
	}
	l.version, l.flags = le.Uint32(b), le.Uint32(b[4:])
	if b = b[extension:]; !takeAreas(&b, &l.boot) {
		return nil, fmt.Errorf("has an unterminated list of bootloader areas")
	}
	return l, nil
}

// takeAreas removes a list of areas from the start of b.
func takeAreas(b *[]byte, list *[]Area) bool {
	for len(*b) >= areaSize {
		a := Area{le.Uint64(*b), le.Uint64((*b)[8:])}
		if *b = (*b)[areaSize:]; a.Offset == 0 {
			return true
		}
		*list = append(*list, a)
	}
	return false
}

// idGroups has the lengths of the groups in a printed id.
var idGroups = [...]int{6, 4, 4, 4, 4, 4, 6}

// dashed formats the 32 characters of an id with dashes.
func dashed(id string) string {
	var b []byte
	for _, n := range idGroups {
		b = append(append(b, id[:n]...), '-')
		id = id[n:]
	}
	return string(b[:len(b)-1])
}
