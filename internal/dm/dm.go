// Package dm asks device-mapper for the tables and the status of active devices. It never changes them.
package dm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Target is one segment of a device.
type Target struct {
	Begin, Len uint64 // in sectors
	Type       string
	Params     string // as dmsetup prints them after the type
}

// A Number identifies a block device.
type Number struct{ Major, Minor uint32 }

// ParseNumber parses a number as in the kernel's tables: MAJOR:MINOR.
func ParseNumber(text string) (Number, error) {
	before, after, _ := strings.Cut(text, ":")
	major, err := strconv.ParseUint(before, 10, 32)
	minor, err2 := strconv.ParseUint(after, 10, 32)
	n := Number{uint32(major), uint32(minor)}
	if err != nil || err2 != nil || n.String() != text {
		return Number{}, fmt.Errorf("%q is not the number of a device", text)
	}
	return n, nil
}

func (n Number) String() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// Errors of [Table] and [Status].
var (
	ErrNotMapped = errors.New("not a device of device-mapper")
	errAnswer    = errors.New("device-mapper gives an answer that makes no sense")
)

// sizeOfSpec is the size of struct dm_target_spec, which precedes the parameters of a target.
const sizeOfSpec = 40

// decode reads the targets of an answer. The answer begins with the first target.
func decode(answer []byte, count uint32) ([]Target, error) {
	var targets []Target
	at := uint32(0)
	for range count {
		if uint64(at)+sizeOfSpec > uint64(len(answer)) {
			return nil, errAnswer
		}
		spec := answer[at:]
		params, _, ended := bytes.Cut(spec[sizeOfSpec:], []byte{0})
		kind, _, _ := bytes.Cut(spec[24:sizeOfSpec], []byte{0})
		next := binary.NativeEndian.Uint32(spec[20:])
		if !ended || next <= at {
			return nil, errAnswer
		}
		targets = append(targets, Target{
			Begin: binary.NativeEndian.Uint64(spec), Len: binary.NativeEndian.Uint64(spec[8:]),
			Type: string(kind), Params: string(params),
		})
		at = next
	}
	return targets, nil
}
