package disk

import (
	"encoding/binary"
	"fmt"
)

// DRBD keeps its metadata in the last 4 KiB; what it replicates begins where the disk does.
const (
	drbdAtEnd = 4096
	drbdMagic = 60 // big-endian
	drbd08    = 0x8374026b
	drbd09    = 0x8374026d
)

// isDRBD reports whether d is a disk that DRBD replicates.
func isDRBD(d *Disk) bool {
	var b [4]byte
	at := d.size&^(drbdAtEnd-1) - drbdAtEnd
	if at < 0 || d.ReadFull(b[:], at+drbdMagic) != nil {
		return false
	}
	magic := binary.BigEndian.Uint32(b[:])
	return magic >= drbd08 && magic <= drbd09
}

// drbd recognises a disk that DRBD replicates. It is read as it is, and not written to.
func (s *search) drbd(d *Disk) {
	if isDRBD(d) {
		d.fixed = d.drbdRefusal()
		s.problem(false, "%v is replicated by DRBD: is it up to date?", d)
	}
}

func (d *Disk) drbdRefusal() error {
	return fmt.Errorf("%v is replicated by DRBD: refusing to write, because its peers would differ. Write to the DRBD device", d)
}
