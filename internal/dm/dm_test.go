package dm

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// encode lays targets out as the kernel does: struct dm_target_spec, text, padding to 8 bytes.
func encode(targets ...Target) []byte {
	var all []byte
	for _, t := range targets {
		spec := make([]byte, sizeOfSpec, sizeOfSpec+len(t.Params)+8)
		binary.NativeEndian.PutUint64(spec, t.Begin)
		binary.NativeEndian.PutUint64(spec[8:], t.Len)
		copy(spec[24:], t.Type)
		spec = append(append(spec, t.Params...), 0)
		for len(spec)%8 != 0 {
			spec = append(spec, 0)
		}
		binary.NativeEndian.PutUint32(spec[20:], uint32(len(all)+len(spec)))
		all = append(all, spec...)
	}
	return all
}

func TestDecode(t *testing.T) {
	want := []Target{
		{0, 8192, "thin", "253:2 7"},
		{8192, 1, "a-type-of-16-chs", ""},
		{8193, 1 << 40, "linear", "8:1 0"},
	}
	answer := encode(want...)
	got, err := decode(answer, 3)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v (%v), want %v", got, err, want)
	}
	if got, err := decode(nil, 0); err != nil || got != nil {
		t.Errorf("no targets: %v (%v)", got, err)
	}
	if _, err := decode(answer, 4); !errors.Is(err, errAnswer) {
		t.Errorf("fewer targets than said: %v", err)
	}
	if _, err := decode(answer[:sizeOfSpec+3], 1); !errors.Is(err, errAnswer) {
		t.Errorf("text without an end: %v", err)
	}
	for _, next := range []uint32{0, 1 << 31, 1<<32 - 1} {
		bad := slices.Clone(answer)
		binary.NativeEndian.PutUint32(bad[20:], next)
		if _, err := decode(bad, 3); !errors.Is(err, errAnswer) {
			t.Errorf("the next target at %d: %v", next, err)
		}
	}
}

func TestParseNumber(t *testing.T) {
	if n, err := ParseNumber("253:12"); err != nil || n != (Number{253, 12}) {
		t.Errorf("%v (%v)", n, err)
	}
	for _, text := range []string{"", "253", "253:", "253:1x", "0253:1", "/dev/sda", "-1:2", "4294967296:1"} {
		if n, err := ParseNumber(text); err == nil {
			t.Errorf("%q: %v", text, n)
		}
	}
}
