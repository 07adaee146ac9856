package export_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/metadata/volume"
	"thinpool/tool/export"
)

// A file is sparse, and replaces another only on request.
func TestFile(t *testing.T) {
	const length = 64 * unit
	path := filepath.Join(t.TempDir(), "out")
	m := &model{extents: []volume.Extent{
		{Kind: volume.Mapped, Begin: 0, Len: unit, Data: unit},
		{Kind: volume.Hole, Begin: unit, Len: 60 * unit},
		{Kind: volume.Mapped, Begin: 61 * unit, Len: unit, Data: 5 * unit},
		{Kind: volume.Lost, Begin: 62 * unit, Len: 2 * unit},
	}}
	want := make([]byte, length)
	m.fill(want[:unit], m.extents[0])
	m.fill(want[61*unit:62*unit], m.extents[2])

	f, err := export.CreateFile(path, length, false, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := export.Run(t.Context(), m, m.all(), f, export.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := export.Verify(t.Context(), m, m.all(), f, export.Options{}); err != nil {
		t.Error(err)
	}
	f.Forget()
	if next := f.NextData(2 * unit); next != 2*unit && next != 61*unit {
		t.Errorf("data at %d", next)
	}
	if next := f.NextData(63 * unit); next != 63*unit && next != math.MaxInt64 {
		t.Errorf("data at %d", next)
	}
	if _, err := f.WriteAt([]byte{1}, 30*unit); err != nil {
		t.Fatal(err)
	}
	if err := export.Verify(t.Context(), m, m.all(), f, export.Options{}); !errors.Is(err, export.ErrDiffers) {
		t.Errorf("a byte in a hole: %v", err)
	}
	want[30*unit] = 1
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file is wrong (%v)", err)
	}

	if _, err := export.CreateFile(path, length, false, 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("it is there: %v", err)
	}
	if _, err := export.ReopenFile(path, length+1); !errors.Is(err, export.ErrNotOurs) {
		t.Errorf("of another size: %v", err)
	}
	if f, err = export.ReopenFile(path, length); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("reopening changed the file (%v)", err)
	}
	if f, err = export.CreateFile(path, unit, true, 0o600); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, make([]byte, unit)) {
		t.Errorf("replaced, the file is not empty (%v)", err)
	}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	if _, err := export.LoadJournal(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is none: %v", err)
	}
	was := export.Journal{Of: []export.Fact{{Name: "device", Value: "1"}, {Name: "time", Value: "5"}}, Size: 100, Position: 7}
	for range 2 {
		if err := was.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := export.LoadJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Position != 7 || got.Same(&was) != nil {
		t.Errorf("got %+v, want %+v", got, was)
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 1 {
		t.Errorf("files: %v", files)
	}
	for want, now := range map[string]export.Journal{
		`time "5", this one has time "6"`: {Of: []export.Fact{was.Of[0], {Name: "time", Value: "6"}}, Size: 100},
		"had 100 bytes, this one has 101": {Of: was.Of, Size: 101},
		"2 facts, not 1":                  {Of: was.Of[:1], Size: 100},
	} {
		if err := got.Same(&now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, text := range []string{"", "{", `{"size":10,"position":11}`, `{"size":10,"position":-1}`, `{"size":-1}`, `{"size":1,"lost":-1}`, strings.Repeat(" ", 1<<20)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := export.LoadJournal(path); !errors.Is(err, export.ErrNoJournal) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if err := was.Save(filepath.Join(t.TempDir(), "no", "folder")); err == nil {
		t.Error("a folder that is not there")
	}
}
