package disk

import (
	"encoding/binary"
	"fmt"
)

// DRBD keeps its metadata in the last 4 KiB. The replicated data starts at the start of the disk.
const (
	drbdAtEnd = 4096
	drbdMagic = 60 // big-endian
	drbd08    = 0x8374026b
	drbd09    = 0x8374026d
)

// isDRBD reports whether DRBD replicates d.
func isDRBD(d *Disk) bool {
	var b [4]byte
	at := d.size&^(drbdAtEnd-1) - drbdAtEnd
	if at < 0 || d.ReadFull(b[:], at+drbdMagic) != nil {
		return false
	}
	magic := binary.BigEndian.Uint32(b[:])
	return magic >= drbd08 && magic <= drbd09
}

// drbd recognises a disk replicated by DRBD. It is read directly and not written.
func (s *search) drbd(d *Disk) {
	if isDRBD(d) {
		d.fixed = d.drbdRefusal()
		s.problem(false, "%v is replicated by DRBD: is it up to date?", d)
	}
}

func (d *Disk) drbdRefusal() error {
	return fmt.Errorf("%v is replicated by DRBD: refusing to write, because its peers would differ. Write to the DRBD device", d)
}
