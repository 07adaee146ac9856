package view

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"thinpool/fsmap"
)

// Files prints what ranges of a volume contain.
type Files struct {
	*fsmap.Result
	Size int64 // of the volume
}

// mostPaths limits how many names are printed for an inode.
const mostPaths = 20

// Text prints tables to w. What could not be found goes to errs.
func (f *Files) Text(w, errs io.Writer) error {
	t := newGrid("", []string{"BEGIN", "LENGTH", "KIND", "INODE", "OFFSET", "PATH"}, []string{"KIND", "PATH"})
	for i := range f.Pieces {
		p := &f.Pieces[i]
		inode, offset := "", ""
		if p.Inode != 0 {
			inode = strconv.FormatUint(p.Inode, 10)
		}
		if p.Offset != fsmap.NoOffset {
			offset = strconv.FormatInt(p.Offset, 10)
		}
		t.add(strconv.FormatInt(p.Begin, 10), strconv.FormatInt(p.Len, 10), string(p.Kind), inode, offset, whose(p))
	}
	if err := t.writeTo(w); err != nil {
		return err
	}
	u := newGrid("in use, and without a known name:", []string{"INODE", "PATH"}, []string{"PATH"})
	for _, x := range f.Unnamed {
		u.add(strconv.FormatUint(x.Inode, 10), x.Path)
	}
	if !t.empty() && !u.empty() {
		if _, err := io.WriteString(w, "\n"); err != nil {
			return err
		}
	}
	if err := u.writeTo(w); err != nil {
		return err
	}
	for _, n := range f.Notes {
		fmt.Fprintf(errs, "note: %s\n", n)
	}
	for i := range f.Problems {
		fmt.Fprintf(errs, "missing: %s\n", problemText(&f.Problems[i]))
	}
	return nil
}

// whose returns the owner of a piece: its file names, or the block group of file system metadata.
func whose(p *fsmap.Piece) string {
	switch {
	case p.Inode == 0 && p.Group >= 0:
		return fmt.Sprintf("(group %d)", p.Group)
	case len(p.Paths) > mostPaths:
		return fmt.Sprintf("%s = %d more", strings.Join(p.Paths[:mostPaths], " = "), len(p.Paths)-mostPaths)
	}
	return strings.Join(p.Paths, " = ")
}

func problemText(p *fsmap.Problem) string {
	text := p.Text
	if p.Len > 0 {
		text = fmt.Sprintf("%v: %s", p.Range, text)
	}
	switch {
	case p.Last == 0:
		return text
	case p.Last == p.First:
		return fmt.Sprintf("%s; inode %d may be unknown", text, p.First)
	}
	return fmt.Sprintf("%s; inodes %d..%d may be unknown", text, p.First, p.Last)
}

// Records in the JSON output.
type (
	fileSystemRecord struct {
		Type       string `json:"type"` // "file_system"
		Format     int    `json:"format"`
		FileSystem string `json:"file_system"`
		BlockSize  int64  `json:"block_size,omitempty"`
		Size       int64  `json:"size"`
	}
	pieceRecord struct {
		Type      string   `json:"type"` // "piece"
		Begin     int64    `json:"begin"`
		Length    int64    `json:"length"`
		Kind      string   `json:"kind"`
		Inode     uint64   `json:"inode,omitempty"`
		Offset    *int64   `json:"offset,omitempty"`
		Group     *int     `json:"group,omitempty"`
		Path      string   `json:"path,omitempty"`
		Others    []string `json:"other_paths,omitempty"`
		MorePaths int      `json:"more_paths,omitempty"`
	}
	unnamedRecord struct {
		Type  string `json:"type"` // "unnamed"
		Inode uint64 `json:"inode"`
		Path  string `json:"path"`
	}
	missingRecord struct {
		Type    string  `json:"type"` // "missing"
		Begin   *int64  `json:"begin,omitempty"`
		Length  *int64  `json:"length,omitempty"`
		Message string  `json:"message"`
		First   *uint64 `json:"first_inode,omitempty"`
		Last    *uint64 `json:"last_inode,omitempty"`
	}
	noteRecord struct {
		Type    string `json:"type"` // "note"
		Message string `json:"message"`
	}
	filesEndRecord struct {
		Type     string `json:"type"` // "summary"
		Pieces   int    `json:"pieces"`
		Files    int    `json:"files"`
		Unnamed  int    `json:"unnamed"`
		Missing  int    `json:"missing"`
		Complete bool   `json:"complete"`
	}
)

// JSON prints all as objects, one after the other: there may be millions.
func (f *Files) JSON(w io.Writer) error {
	out := bufio.NewWriter(w)
	enc := NewEncoder(out)
	for line := range f.lines() {
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return out.Flush()
}

// lines are the objects of the JSON.
func (f *Files) lines() iter.Seq[any] {
	return func(yield func(any) bool) {
		files := map[uint64]bool{}
		ok := yield(fileSystemRecord{"file_system", 1, f.FileSystem, f.BlockSize, f.Size})
		for i := 0; ok && i < len(f.Pieces); i++ {
			if p := &f.Pieces[i]; p.Inode != 0 {
				files[p.Inode] = true
			}
			ok = yield(pieceOf(&f.Pieces[i]))
		}
		for i := 0; ok && i < len(f.Unnamed); i++ {
			ok = yield(unnamedRecord{"unnamed", f.Unnamed[i].Inode, f.Unnamed[i].Path})
		}
		for i := 0; ok && i < len(f.Notes); i++ {
			ok = yield(noteRecord{"note", f.Notes[i]})
		}
		for i := 0; ok && i < len(f.Problems); i++ {
			ok = yield(missingOf(&f.Problems[i]))
		}
		if ok {
			yield(filesEndRecord{"summary", len(f.Pieces), len(files), len(f.Unnamed), len(f.Problems), f.Complete()})
		}
	}
}

func pieceOf(p *fsmap.Piece) pieceRecord {
	r := pieceRecord{Type: "piece", Begin: p.Begin, Length: p.Len, Kind: string(p.Kind), Inode: p.Inode}
	if p.Offset != fsmap.NoOffset {
		r.Offset = &p.Offset
	}
	if p.Group >= 0 {
		r.Group = &p.Group
	}
	if len(p.Paths) > 0 {
		r.Path, r.Others = p.Paths[0], p.Paths[1:]
	}
	if len(r.Others) > mostPaths {
		r.Others, r.MorePaths = r.Others[:mostPaths], len(r.Others)-mostPaths
	}
	return r
}

func missingOf(p *fsmap.Problem) missingRecord {
	r := missingRecord{Type: "missing", Message: p.Text}
	if p.Len > 0 {
		r.Begin, r.Length = &p.Begin, &p.Len
	}
	if p.Last != 0 {
		r.First, r.Last = &p.First, &p.Last
	}
	return r
}
