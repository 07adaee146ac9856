package cli

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// SectorSize is what a size without a unit is counted in.
const SectorSize = 512

// A Unit is a unit of sizes.
type Unit struct {
	Letter string // short form: case matters
	Name   string // full form, in the plural
	Short  string // form in between, as KiB; "" if there is none
	Bytes  uint64
}

// Units are all units, binary ones in lower case, decimal ones in upper case, in
// the order in which the beginnings of their names are tried.
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
	// thin-provisioning-tools 0.9 calls it ebibytes, so there "ex" is decimal.
	{"e", "exbibytes", "EiB", 1 << 60},
}

const oldExbibytes = "ebibytes"

// ParseUnit finds a unit by its letter, its short form, or its name or a prefix
// of that of two letters or more. No name is the sector. Letter case is free where it says
// nothing: B and S are what lvs prints, but K is not k, and kb would be either.
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

// A Size is a size, read from digits and a unit.
type Size struct {
	Bytes  uint64
	Number uint64 // as it was given, in Unit
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

// HumanSize writes a number of bytes with a binary unit so that the number is at
// most 8192, as the columns of thin_ls do.
func HumanSize(bytes uint64) string {
	suffixes := [...]string{"b", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	n, unit := bytes, 0
	for n >= 1<<20 && unit < len(suffixes)-1 {
		n >>= 10
		unit++
	}
	if n > 8192 && unit < len(suffixes)-1 {
		n = (n + 512) >> 10 // half away from zero
		unit++
	}
	return strconv.FormatUint(n, 10) + suffixes[unit]
}
