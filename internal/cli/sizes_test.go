package cli

import (
	"strings"
	"testing"
)

func TestSize(t *testing.T) {
	for in, want := range map[string]Size{
		"128":                   {128 * 512, 128, unit("s")},
		"128s":                  {128 * 512, 128, unit("s")},
		"1sector":               {512, 1, unit("s")},
		"1se":                   {512, 1, unit("s")},
		"7b":                    {7, 7, unit("b")},
		"7by":                   {7, 7, unit("b")},
		"64k":                   {65536, 64, unit("k")},
		"64K":                   {64000, 64, unit("K")},
		"64KiB":                 {65536, 64, unit("k")},
		"64kB":                  {64000, 64, unit("K")},
		"64ki":                  {65536, 64, unit("k")},
		"64kil":                 {64000, 64, unit("K")},
		"3MiB":                  {3 << 20, 3, unit("m")},
		"3me":                   {3 << 20, 3, unit("m")},
		"3meg":                  {3e6, 3, unit("M")},
		"2tebibytes":            {2 << 40, 2, unit("t")},
		"2tebibyte":             {2 << 40, 2, unit("t")},
		"2pe":                   {2 << 50, 2, unit("p")},
		"15e":                   {15 << 60, 15, unit("e")},
		"1ebibytes":             {1 << 60, 1, unit("e")},
		"1exb":                  {1 << 60, 1, unit("e")},
		"1ex":                   {1e18, 1, unit("E")}, // as 0.9 takes it
		"18E":                   {18e18, 18, unit("E")},
		"007g":                  {7 << 30, 7, unit("g")},
		"0":                     {0, 0, unit("s")},
		"256S":                  {256 * 512, 256, unit("s")}, // as lvs --units s prints
		"4096B":                 {4096, 4096, unit("b")},     // as lvs --units b prints
		"10tib":                 {10 << 40, 10, unit("t")},
		"10TIB":                 {10 << 40, 10, unit("t")},
		"2Mebibytes":            {2 << 20, 2, unit("m")},
		"2GIGABYTE":             {2e9, 2, unit("G")},
		"18446744073709551615b": {1<<64 - 1, 1<<64 - 1, unit("b")},
	} {
		var got Size
		if err := got.UnmarshalText([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                      "want digits and a unit",
		"k":                     "want digits and a unit",
		"-1k":                   "want digits and a unit",
		" 1k":                   "want digits and a unit",
		"1 k":                   "unknown unit",
		"1.5k":                  "unknown unit",
		"1kk":                   "unknown unit",
		"1Kb":                   "unknown unit",
		"1KB":                   "unknown unit",
		"1mb":                   "unknown unit",
		"1kibibytess":           "unknown unit",
		"1z":                    "unit \"z\" is too large",
		"1Zett":                 "unknown unit",
		"1yobi":                 "unit \"yobi\" is too large",
		"16e":                   "too large: sizes have at most 64 bits",
		"18446744073709551616b": "too large: sizes have at most 64 bits",
		"36028797018963968":     "too large: sizes have at most 64 bits",
	} {
		var got Size
		if err := got.UnmarshalText([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func unit(letter string) Unit {
	for _, u := range Units {
		if u.Letter == letter {
			return u
		}
	}
	panic(letter)
}

func TestUnitsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, u := range Units {
		for _, name := range []string{u.Letter, u.Name, u.Short} {
			if name == "" {
				continue
			}
			if seen[name] {
				t.Errorf("%s is two units", name)
			}
			seen[name] = true
			if got, err := ParseUnit(name); err != nil || got != u {
				t.Errorf("ParseUnit(%s): %v, %v", name, got, err)
			}
		}
	}
}

func TestHumanSize(t *testing.T) {
	for in, want := range map[uint64]string{
		0: "0b", 1023: "1023b", 1024: "1024b", 8192: "8192b", 8193: "8KiB",
		8703: "8KiB", 8704: "9KiB", // half goes up
		702545920: "670MiB", 1<<20 - 1: "1024KiB", 1 << 20: "1024KiB", 8 << 20: "8192KiB", 8<<20 + 1: "8192KiB",
		8<<20 + 1024: "8MiB", 1 << 40: "1024GiB", 1 << 50: "1024TiB", 1 << 60: "1024PiB", 1<<64 - 1: "16EiB",
	} {
		if got := HumanSize(in); got != want {
			t.Errorf("HumanSize(%d) = %s, want %s", in, got, want)
		}
	}
}
