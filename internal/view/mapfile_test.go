package view

import (
	"errors"
	"strings"
	"testing"

	"thinpool/metadata/volume"
)

// Adjacent extents with the same status become one block, even if their kinds differ.
func TestMapfile(t *testing.T) {
	var text strings.Builder
	m := NewMapfile(&text)
	at := int64(0)
	for _, e := range []volume.Extent{
		{Kind: volume.Mapped, Len: 65536, Data: 1 << 20},
		{Kind: volume.Hole, Len: 65536},
		{Kind: volume.Origin, Len: 512},
		{Kind: volume.Lost, Len: 1 << 33, Err: errors.New("gone")},
		{Kind: volume.Lost, Len: 512, Err: errors.New("gone, too")},
		{Kind: volume.Mapped, Len: 4096, Data: 0, Guessed: true},
		{Kind: volume.Hole, Len: 4096},
	} {
		e.Begin = at
		at = e.End()
		if err := m.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		if line[0] != '#' {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	want := "0x00000000 ? 1\n0x00000000 0x00020200 +\n0x00020200 0x200000200 -\n0x200020400 0x00001000 *\n0x200021400 0x00001000 +"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
