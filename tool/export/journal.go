package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"thinpool/internal/newfile"
)

// A Journal records how far an export got, so that it can resume. It is stored in a file until the
// export is complete.
type Journal struct {
	Of       []Fact `json:"of"`
	Size     int64  `json:"size"`     // size of the volume in bytes
	Position int64  `json:"position"` // everything before this byte is on stable storage
	Lost     int64  `json:"lost"`     // unreadable bytes before Position
}

// A Fact is something that must not change before an export resumes: what is exported, from where,
// and with which options.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// mostNote is far more than a journal or a state needs.
const mostNote = 1 << 16

// ErrNoJournal means that a file is not a journal.
var ErrNoJournal = errors.New("not the journal of an export")

// LoadJournal reads a journal. If there is none, the error is [os.ErrNotExist].
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

// Same returns an error if the export that left j differs from the one that is to continue it.
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

// Save atomically replaces the file at path with j and makes that durable.
func (j *Journal) Save(path string) error { return saveNote(path, j) }

// loadNote reads what saveNote wrote. If the file is something else, the error wraps notOurs.
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

// saveNote atomically replaces the file at path with a note and makes that durable.
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
