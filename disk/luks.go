package disk

import (
	"bytes"
	"fmt"
)

const luksMagic = "LUKS\xba\xbe"

// luks recognises an encrypted volume.
func (s *search) luks(m *Medium, d *Disk) bool {
	var b [sector]byte
	if d.ReadFull(b[:], 0) != nil || !bytes.HasPrefix(b[:], []byte(luksMagic)) {
		return false
	}
	m.Looks = append(m.Looks, fmt.Sprintf("%v looks like LUKS: open it first", d))
	return true
}
