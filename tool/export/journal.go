package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"thinpool/internal/newfile"
)

// A Journal says how far an export got, so that it can go on. It lies in a file while
// the export is not complete.
type Journal struct {
	Of       []Fact `json:"of"`
	Size     int64  `json:"size"`     // of the volume, in bytes
	Position int64  `json:"position"` // all before this byte is on stable storage
	Lost     int64  `json:"lost"`     // bytes before Position that could not be read
}

// A Fact is something that must not have changed when an export goes on: what is
// exported, from where, by which options.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// mostNote is far more than a journal or a state has.
const mostNote = 1 << 16

// ErrNoJournal says that a file is not a journal.
var ErrNoJournal = errors.New("not the journal of an export")

// LoadJournal reads a journal. The error is [os.ErrNotExist] if there is none.
func LoadJournal(path string) (*Journal, error) {
	j := new(Journal)
	if err := loadNote(path, j, ErrNoJournal); err != nil {
		return nil, err
	}
	if j.Size < 0 || j.Position < 0 || j.Position > j.Size || j.Lost < 0 {
		return nil, fmt.Errorf("%s: %w: byte %d of %d, %d of them lost", path, ErrNoJournal, j.Position, j.Size, j.Lost)
	}
	return j, nil
}

// Same returns an error that says what differs between the export that left j and the
// one that is to go on.
func (j *Journal) Same(now *Journal) error {
	if len(j.Of) != len(now.Of) {
		return fmt.Errorf("the journal is of another version: %d facts, not %d", len(j.Of), len(now.Of))
	}
	for i, was := range j.Of {
		if is := now.Of[i]; was != is {
			return fmt.Errorf("the interrupted export had %s %q, this one has %s %q", was.Name, was.Value, is.Name, is.Value)
		}
	}
	if j.Size != now.Size {
		return fmt.Errorf("the interrupted export had %d bytes, this one has %d", j.Size, now.Size)
	}
	return nil
}

// Save puts j in the place of what is at path, on stable storage. Whatever interrupts
// that leaves the one or the other.
func (j *Journal) Save(path string) error { return saveNote(path, j) }

// loadNote reads what saveNote wrote. If it is something else the error wraps notOurs.
func loadNote(path string, note any, notOurs error) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: it is not a regular file", path, notOurs)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostNote))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, note); err != nil {
		return fmt.Errorf("%s: %w: %w", path, notOurs, err)
	}
	return nil
}

// saveNote puts a note in the place of what is at path, on stable storage. Whatever interrupts that
// leaves the one or the other.
func saveNote(path string, note any) error {
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	f, err := newfile.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	return f.Commit(true)
}
