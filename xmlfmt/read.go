package xmlfmt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata"
)

// Options for [Read].
type Options struct {
	Overrides metadata.Overrides // replace values of the header
	Note      func(string)       // called for everything corrected or left out, if not nil

	// For tests:
	reference bool // use encoding/xml for every tag
	pieceSize int  // split the text into pieces of this many bytes, if not 0
}

// A SyntaxError says what is wrong with the text, and where.
type SyntaxError struct {
	Line, Column int    // from 1; the column counts bytes
	Element      string // the wrong element, if any
	Err          error
}

func (e *SyntaxError) Error() string {
	if e.Element == "" {
		return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
	}
	return fmt.Sprintf("line %d, column %d, <%s>: %v", e.Line, e.Column, e.Element, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// Read reads a dump and passes it to v. It calls End only if r ends where it should. Errors in the
// text, and errors returned by v, are a [SyntaxError]. After Read returns, nothing reads from r
// any more, unless ctx is done: then a call of r.Read may still be waiting for data.
func Read(ctx context.Context, r io.Reader, v metadata.Visitor, opt Options) error {
	ahead, stop := context.WithCancel(ctx)
	d := reader{ctx: ctx, opt: opt, pieces: pieces(ahead, r, cmp.Or(opt.pieceSize, pieceSize)), line: 1}
	d.g = grammar{v: v, opt: opt, valid: metadata.Validator{Note: opt.Note}}
	d.decoder = xml.NewDecoder(&d)
	d.decoder.CharsetReader = charset
	defer d.drain()
	defer stop()
	return d.read()
}

// A reader goes through the pieces of the text. It uses the scanner, and encoding/xml for single
// tags that the scanner does not accept.
type reader struct {
	ctx    context.Context
	opt    Options
	g      grammar
	pieces <-chan *piece
	cur    *piece
	at     int // in cur.data
	runs   []metadata.Run
	attrs  []attr

	mark         int // in cur.data, at or before at
	line, column int // of mark, from 1 and from 0

	// For encoding/xml. It keeps no bytes from one tag to the next.
	decoder        *xml.Decoder
	taken          int  // bytes of the current token
	previous, last byte // last two bytes of it
}

var (
	errEmpty    = errors.New("the input is empty, want XML")
	errNothing  = errors.New("the input ends without a <superblock>")
	errCutShort = errors.New("the input ends early: </superblock> is missing")
	errText     = errors.New("unexpected text between elements")
)

func (d *reader) read() error {
	if err := d.nextPiece(); err != nil {
		return err
	}
	if err := d.recognise(); err != nil {
		return err
	}
	for {
		if d.at == 0 {
			if err := d.mappings(d.cur.runs, d.cur.taken); err != nil {
				return err
			}
		}
		d.skipSpace()
		switch {
		case d.at == len(d.cur.data):
			if end, err := d.endOfPiece(); end || err != nil {
				return err
			}
		case d.cur.data[d.at] != '<':
			return d.fail("", errText)
		default:
			if err := d.element(); err != nil {
				return err
			}
		}
	}
}

// recognise returns an error if the input is metadata instead of XML. It skips a byte order mark.
func (d *reader) recognise() error {
	data := d.cur.data
	if len(data) >= offMagic+8 && binary.LittleEndian.Uint64(data[offMagic:]) == metadata.Magic {
		return errors.New("this is binary metadata, not XML: use thin_dump to turn it into XML")
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		d.at = 3
	}
	return nil
}

// endOfPiece moves to the next piece; true if there is none and the text is complete.
func (d *reader) endOfPiece() (bool, error) {
	switch err := d.nextPiece(); {
	case err == nil:
		return false, nil
	case err != io.EOF:
		return true, err
	case d.g.done():
		if err := d.g.v.End(); err != nil {
			return true, d.fail("superblock", err)
		}
		return true, nil
	case d.g.seen:
		return true, d.fail("", errCutShort)
	}
	if line, column := d.position(); line == 1 && column == 0 {
		return true, d.fail("", errEmpty)
	}
	return true, d.fail("", errNothing)
}

// nextPiece moves to the next piece. The error is that of reading, io.EOF at the end.
func (d *reader) nextPiece() error {
	if d.cur != nil {
		if d.cur.err != nil {
			return d.cur.err
		}
		d.at = len(d.cur.data)
		d.position()
		piecePool.Put(d.cur)
	}
	d.cur, d.at, d.mark = nil, 0, 0
	select {
	case d.cur = <-d.pieces:
	case <-d.ctx.Done():
	}
	if err := d.ctx.Err(); err != nil || d.cur == nil {
		d.cur = &piece{err: err}
		return err
	}
	<-d.cur.ready
	return nil
}

// drain waits until the read-ahead goroutine has ended.
func (d *reader) drain() {
	for {
		select {
		case _, more := <-d.pieces:
			if !more {
				return
			}
		case <-d.ctx.Done():
			return
		}
	}
}

// position moves the mark to the current position, so that no byte is counted twice.
func (d *reader) position() (line, column int) {
	passed := d.cur.data[d.mark:d.at]
	if i := bytes.LastIndexByte(passed, '\n'); i >= 0 {
		d.line += bytes.Count(passed, []byte{'\n'})
		d.column = -i - 1
	}
	d.column += len(passed)
	d.mark = d.at
	return d.line, d.column
}

// fail returns err as a SyntaxError at the current position.
func (d *reader) fail(element string, err error) error {
	line, column := d.position()
	return &SyntaxError{line, column + 1, shorten(element), err}
}

func (d *reader) skipSpace() {
	for d.at < len(d.cur.data) && isSpace(d.cur.data[d.at]) {
		d.at++
	}
}

// mappings handles runs scanned at the current position; they take the given number of bytes.
func (d *reader) mappings(runs []metadata.Run, taken int) error {
	if d.opt.reference || taken == 0 || !d.g.contentAllowed() {
		return nil
	}
	for i, r := range runs {
		if err := d.g.run(r); err != nil {
			d.toRun(i)
			return d.fail(d.elementHere(), err)
		}
	}
	d.at += taken
	return nil
}

// toRun moves to the start of mapping i from here.
func (d *reader) toRun(i int) {
	for ; ; i-- {
		d.skipSpace()
		if i == 0 {
			return
		}
		_, n := scanRun(d.cur.data[d.at:])
		d.at += n
	}
}

func (d *reader) elementHere() string {
	here := d.cur.data[d.at+1:]
	name, _ := word(string(here[:min(len(here), len(range1))]))
	return name
}

// element handles the tag, comment or similar that starts here.
func (d *reader) element() error {
	if d.opt.reference {
		return d.slowly()
	}
	t, n := scanTag(d.cur.data[d.at:], d.attrs[:0])
	if n == 0 {
		return d.slowly()
	}
	d.attrs = t.attrs
	if err := d.g.tag(t); err != nil {
		return d.fail(t.name, err)
	}
	d.at += n
	if d.g.contentAllowed() {
		var taken int
		d.runs, taken = scanRuns(d.cur.data[d.at:], d.runs[:0])
		return d.mappings(d.runs, taken)
	}
	return nil
}
