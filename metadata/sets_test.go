package metadata_test

import (
	"testing"

	"pgregory.net/rapid"

	"thinpool/metadata"
)

// A DevIDSet is a set of any ids, including those the kernel does not accept.
func TestDevIDSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s metadata.DevIDSet
		model := map[metadata.DevID]bool{}
		id := rapid.OneOf(rapid.Uint64Range(0, 200), rapid.Uint64Range(metadata.MaxDevID-2, metadata.MaxDevID+2), rapid.Uint64())
		for range rapid.IntRange(0, 100).Draw(t, "n") {
			v := metadata.DevID(id.Draw(t, "id"))
			if got := s.Add(v); got == model[v] {
				t.Fatalf("Add(%d) = %v", v, got)
			}
			model[v] = true
		}
	})
}

// Names that look like the same number are not confused.
func TestNames(t *testing.T) {
	var n metadata.Names
	all := []string{"", "0", "00", "1", "01", "+1", "-1", "1 ", "18446744073709551615", "18446744073709551616", "a", "1e3"}
	for i, name := range all {
		if _, ok := n.Get(name); ok {
			t.Errorf("%q is there before it is set", name)
		}
		n.Set(name, int32(i))
	}
	for i, name := range all {
		if got, ok := n.Get(name); !ok || got != int32(i) {
			t.Errorf("%q has the number %d, %v; want %d", name, got, ok, i)
		}
	}
}
