package xmlfmt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"thinpool/metadata"
)

// Options for [Read].
type Options struct {
	Overrides metadata.Overrides // replace what the header says
	Note      func(string)       // told of what was set right or left out, if not nil

	reference bool // leave every tag to encoding/xml: for tests
}

// A SyntaxError says what is wrong with the text, and where.
type SyntaxError struct {
	Line, Column int    // from 1; the column counts bytes
	Element      string // that is wrong, if one is
	Err          error
}

func (e *SyntaxError) Error() string {
	if e.Element == "" {
		return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
	}
	return fmt.Sprintf("line %d, column %d, <%s>: %v", e.Line, e.Column, e.Element, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// Read reads a dump and hands it to v. The error is a [SyntaxError] if it is
// about the text or what v said to it.
func Read(ctx context.Context, r io.Reader, v metadata.Visitor, opt Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := reader{ctx: ctx, opt: opt, pieces: pieces(ctx, r), line: 1}
	d.g = grammar{v: v, opt: opt, valid: metadata.Validator{Note: opt.Note}}
	return d.read()
}

// reader goes through the pieces of the text. It looks at them with the scanner
// and leaves to encoding/xml, tag by tag, what that does not take.
type reader struct {
	ctx    context.Context
	opt    Options
	g      grammar
	pieces <-chan *piece
	cur    *piece
	at     int // in cur.data
	taken  int // bytes read since token was last called
	runs   []metadata.Run

	line, column int  // of the start of cur, from 1 and from 0
	closed       bool // ReadByte gives nothing
}

var (
	errEmpty    = errors.New("the input is empty, want XML")
	errCutShort = errors.New("the input ends early: </superblock> is missing")
	errText     = errors.New("text where only elements may be")
	errTooLong  = fmt.Errorf("an element or comment is longer than %d bytes", longestToken)
)

// longestToken bounds the memory that one token takes.
const longestToken = 1 << 20

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

// recognise says what the input is if it is metadata and not XML, and passes
// over a byte order mark.
func (d *reader) recognise() error {
	data := d.cur.data
	const offMagic = 32
	if len(data) >= offMagic+8 && binary.LittleEndian.Uint64(data[offMagic:]) == metadata.Magic {
		return errors.New("this is binary metadata, not XML: it needs no restoring; thin_dump makes XML of it")
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		d.at = 3
	}
	return nil
}

// endOfPiece goes on to the next piece; true if there is none and all is well.
func (d *reader) endOfPiece() (bool, error) {
	switch err := d.nextPiece(); {
	case err == nil:
		return false, nil
	case err != io.EOF:
		return true, err
	case d.g.done():
		return true, nil
	case !d.g.seen:
		return true, d.fail("", errEmpty)
	}
	return true, d.fail("", errCutShort)
}

// nextPiece moves on to the next piece. The error is that of reading, io.EOF at the end.
func (d *reader) nextPiece() error {
	if d.cur != nil {
		if d.cur.err != nil {
			return d.cur.err
		}
		d.line, d.column = d.position(len(d.cur.data))
		piecePool.Put(d.cur)
	}
	d.cur, d.at = nil, 0
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

// position is the line, from 1, and the column, from 0, of a place in the piece.
func (d *reader) position(at int) (line, column int) {
	before := d.cur.data[:at]
	if i := bytes.LastIndexByte(before, '\n'); i >= 0 {
		return d.line + bytes.Count(before, []byte{'\n'}), at - i - 1
	}
	return d.line, d.column + at
}

// fail makes a SyntaxError of err, at the place where the reader is.
func (d *reader) fail(element string, err error) error {
	line, column := d.position(d.at)
	return &SyntaxError{line, column + 1, element, err}
}

func (d *reader) skipSpace() {
	for d.at < len(d.cur.data) && isSpace(d.cur.data[d.at]) {
		d.at++
	}
}

// mappings takes runs that were scanned where the reader is; they take so many bytes.
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
	name, _ := word(d.cur.data[d.at+1:])
	return name
}

// element takes the tag, comment or the like that begins here.
func (d *reader) element() error {
	if d.opt.reference {
		return d.slowly()
	}
	t, n := scanTag(d.cur.data[d.at:])
	if n == 0 {
		return d.slowly()
	}
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

// slowly lets encoding/xml read what begins here.
func (d *reader) slowly() error {
	line, column := d.position(d.at)
	fail := func(element string, err error) error { return &SyntaxError{line, column + 1, element, err} }
	d.taken = 0
	decoder := xml.NewDecoder(d)
	token, err := decoder.RawToken()
	if err != nil {
		return fail("", d.readError(err))
	}
	switch token := token.(type) {
	case xml.StartElement:
		t := tag{name: name(token.Name)}
		for _, a := range token.Attr {
			t.attrs = append(t.attrs, attr{name(a.Name), a.Value})
		}
		if err := d.g.tag(t); err != nil {
			return fail(shorten(t.name), err)
		}
		// The end of an empty element is a token that takes no bytes.
		if d.cur.data[d.at-1] == '>' && d.emptyElement(decoder) {
			if err := d.g.end(t.name); err != nil {
				return fail(shorten(t.name), err)
			}
		}
	case xml.EndElement:
		if err := d.g.tag(tag{name: name(token.Name), kind: endTag}); err != nil {
			return fail(shorten(name(token.Name)), err)
		}
	case xml.CharData:
		if strings.Trim(string(token), " \t\r\n") != "" {
			return fail("", errText)
		}
	case xml.Directive:
		if d.g.seen {
			return fail("", errors.New("a declaration may only stand before the superblock"))
		}
	}
	return nil
}

// emptyElement reports whether the start that decoder has just read was an empty
// element, <like this/>.
func (d *reader) emptyElement(decoder *xml.Decoder) bool {
	d.closed = true
	defer func() { d.closed = false }()
	token, err := decoder.RawToken()
	_, end := token.(xml.EndElement)
	return err == nil && end
}

// readError makes an error of encoding/xml one about the text.
func (d *reader) readError(err error) error {
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax) && !strings.Contains(syntax.Msg, "unexpected EOF"):
		return errors.New(syntax.Msg)
	case errors.As(err, &syntax), errors.Is(err, io.EOF):
		return errCutShort
	}
	return err
}

func name(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// ReadByte gives encoding/xml the text from where the reader is, and no more of
// it than each token takes.
func (d *reader) ReadByte() (byte, error) {
	if d.closed {
		return 0, io.EOF
	}
	if d.taken++; d.taken > longestToken {
		return 0, errTooLong
	}
	for d.at == len(d.cur.data) {
		if err := d.nextPiece(); err != nil {
			return 0, err
		}
	}
	d.at++
	return d.cur.data[d.at-1], nil
}

// Read makes the reader an io.Reader, as xml.NewDecoder wants; it calls ReadByte.
func (d *reader) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }
