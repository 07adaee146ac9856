package cli

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// An Optional is an option with an optional value: -m, -m7, -m=7, --metadata-snap=7. With the tag
// number:"" the value is a number, which may also be the next word. With words:"short,long" it is
// one of these words or a prefix.
type Optional struct {
	Set   bool
	Value string // "" if there is none
}

// Decode implements kong.MapperValue.
func (o *Optional) Decode(ctx *kong.DecodeContext) error {
	o.Set = true
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	value := fmt.Sprint(ctx.Scan.Pop().Value)
	if tag := ctx.Value.Tag; tag.Has("number") {
		n, err := ParseNumber(value, 64)
		o.Value = strconv.FormatUint(n, 10)
		return err
	} else if words := tag.Get("words"); words != "" {
		for word := range strings.SplitSeq(words, ",") {
			if value != "" && strings.HasPrefix(word, value) {
				o.Value = word
				return nil
			}
		}
		return fmt.Errorf("%q is none of %s%s", value, strings.ReplaceAll(words, ",", ", "), DidYouMean(value, strings.Split(words, ",")))
	}
	o.Value = value
	return nil
}

// IsBool tells kong that the value is optional.
func (o *Optional) IsBool() bool { return true }

// A Percent is a percentage, with or without the sign: 5, 0.5, 5%.
type Percent float64

// UnmarshalText implements encoding.TextUnmarshaler, for options.
func (p *Percent) UnmarshalText(text []byte) error {
	number := strings.TrimSuffix(string(text), "%")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Trim(number, "0123456789.") != "" || n > 100 {
		return fmt.Errorf("%q is not a percentage: want 0 to 100, as 5%%", text)
	}
	*p = Percent(n)
	return nil
}

// wordMapper replaces kong's mapper, which loses bytes that are not UTF-8. File names may contain
// them.
func wordMapper(ctx *kong.DecodeContext, target reflect.Value) error {
	word, err := ctx.Scan.PopValue("word")
	if err != nil {
		return err
	}
	target.SetString(word.String())
	return nil
}

// numberMapper replaces kong's mapper, which accepts 0x10 and 1_000, and reads 010 as 8.
func numberMapper(bits int) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		word, err := ctx.Scan.PopValue("number")
		if err != nil {
			return err
		}
		n, err := ParseNumber(word.String(), bits)
		target.SetUint(n)
		return err
	}
}

// ParseNumber parses a decimal number with an optional plus sign.
func ParseNumber(word string, bits int) (uint64, error) {
	if !isNumber(word) {
		return 0, fmt.Errorf("%q is not a number", word)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(word, "+"), 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%s is too large", word)
	}
	return n, nil
}

func isNumber(word string) bool {
	number := strings.TrimPrefix(word, "+")
	return number != "" && digits(number) == len(number)
}

// digits returns how many digits s starts with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}
