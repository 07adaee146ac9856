package cli

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// SectorSize is the unit of sizes without one, in bytes.
const SectorSize = 512

// A Unit is a unit of sizes.
type Unit struct {
	Letter string // case matters
	Name   string // full name, plural
	Short  string // such as KiB; "" if there is none
	Bytes  uint64
}

// Units lists all units, binary ones in lower case, decimal ones in upper case. Prefixes of names
// are matched in this order.
var Units = []Unit{
	{"b", "bytes", "", 1},
	{"s", "sectors", "", SectorSize},
	{"k", "kibibytes", "KiB", 1 << 10},
	{"m", "mebibytes", "MiB", 1 << 20},
	{"g", "gibibytes", "GiB", 1 << 30},
	{"t", "tebibytes", "TiB", 1 << 40},
	{"p", "pebibytes", "PiB", 1 << 50},
	{"K", "kilobytes", "kB", 1e3},
	{"M", "megabytes", "MB", 1e6},
	{"G", "gigabytes", "GB", 1e9},
	{"T", "terabytes", "TB", 1e12},
	{"P", "petabytes", "PB", 1e15},
	{"E", "exabytes", "EB", 1e18},
	// thin-provisioning-tools 0.9 spells it ebibytes, so its "ex" is decimal.
	{"e", "exbibytes", "EiB", 1 << 60},
}

const oldExbibytes = "ebibytes"

// ParseUnit finds a unit by its letter, its short form, its name, or a prefix of the name of two
// letters or more. An empty name means sectors. Case is ignored where it is not ambiguous: B and S
// as lvs prints them are fine, but K is not k, and kb could be either.
func ParseUnit(s string) (Unit, error) {
	switch s {
	case "", "S":
		s = "s"
	case "B":
		s = "b"
	}
	for _, u := range Units {
		if s == u.Letter || s == u.Short || s == u.Name || s+"s" == u.Name {
			return u, nil
		}
	}
	for _, u := range Units {
		binary := len(u.Short) == len("KiB")
		if binary && strings.EqualFold(s, u.Short) || strings.EqualFold(s, u.Name) || strings.EqualFold(s+"s", u.Name) {
			return u, nil
		}
	}
	beginning := func(name string) bool { return len(s) >= 2 && strings.HasPrefix(name, s) }
	for _, u := range Units {
		if beginning(u.Name) || u.Letter == "e" && beginning(oldExbibytes) {
			return u, nil
		}
	}
	for _, huge := range []string{"z", "Z", "y", "Y", "zebibytes", "zettabytes", "yobibytes", "yottabytes"} {
		if s == huge || beginning(huge) {
			return Unit{}, fmt.Errorf("unit %q is too large: sizes have at most 64 bits", s)
		}
	}
	return Unit{}, fmt.Errorf("unknown unit %q: want b, s, k, m, g, t, p, e, upper case for powers of 1000, or a name", s)
}

// A Size is a size given as digits and a unit.
type Size struct {
	Bytes  uint64
	Number uint64 // as given, in Unit
	Unit   Unit
}

func (s Size) String() string { return strconv.FormatUint(s.Number, 10) + s.Unit.Name }

// UnmarshalText implements encoding.TextUnmarshaler, for options.
func (s *Size) UnmarshalText(text []byte) error {
	in := string(text)
	n := digits(in)
	if n == 0 {
		return fmt.Errorf("size %q: want digits and a unit, as 64k", in)
	}
	unit, err := ParseUnit(in[n:])
	if err != nil {
		return fmt.Errorf("size %q: %w", in, err)
	}
	number, err := strconv.ParseUint(in[:n], 10, 64)
	high, product := bits.Mul64(number, unit.Bytes)
	if err != nil || high != 0 {
		return fmt.Errorf("size %q is too large: sizes have at most 64 bits", in)
	}
	*s = Size{Bytes: product, Number: number, Unit: unit}
	return nil
}

// HumanSize writes a number of bytes in the binary unit that makes the number at most 8192, like
// the columns of thin_ls.
func HumanSize(bytes uint64) string {
	suffixes := [...]string{"b", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	n, unit := bytes, 0
	for n >= 1<<20 && unit < len(suffixes)-1 {
		n >>= 10
		unit++
	}
	if n > 8192 && unit < len(suffixes)-1 {
		n = (n + 512) >> 10 // round half up
		unit++
	}
	return strconv.FormatUint(n, 10) + suffixes[unit]
}
