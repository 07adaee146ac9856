package xmlfmt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// longestToken limits the memory for a token.
const longestToken = 1 << 20

var (
	errTooLate = errors.New("a declaration may only stand before the superblock")
	errTooLong = fmt.Errorf("an element or comment is longer than %d bytes", longestToken)
)

// slowly lets encoding/xml read whatever starts here.
func (d *reader) slowly() error {
	line, column := d.position() // the start; d.fail would use the end
	d.taken = 0
	token, err := d.decoder.RawToken()
	if err != nil {
		if d.cur.err != io.EOF && errors.Is(err, d.cur.err) {
			return err // from reading, not about the text
		}
		return &SyntaxError{line, column + 1, "", explain(err)}
	}
	element, err := d.token(token)
	if err != nil {
		return &SyntaxError{line, column + 1, shorten(element), err}
	}
	return nil
}

// token handles a token of encoding/xml. An error comes with the name of the element.
func (d *reader) token(token xml.Token) (element string, err error) {
	switch token := token.(type) {
	case xml.StartElement:
		t := tag{name: name(token.Name), attrs: d.attrs[:0]}
		for _, a := range token.Attr {
			t.attrs = append(t.attrs, attr{name(a.Name), a.Value})
		}
		d.attrs = t.attrs
		if d.previous == '/' { // the last byte is '>'; values are quoted, so this is an empty element
			t.kind = emptyTag
			if _, err := d.decoder.RawToken(); err != nil { // its end, a token of no bytes
				return t.name, err
			}
		}
		return t.name, d.g.tag(t)
	case xml.EndElement:
		t := tag{name: name(token.Name), kind: endTag}
		return t.name, d.g.tag(t)
	case xml.CharData: // CDATA, as the reader is at a '<'
		if strings.Trim(string(token), " \t\r\n") != "" {
			return "", errText
		}
	case xml.Directive:
		if d.g.seen {
			return "", errTooLate
		}
	case xml.ProcInst:
		if d.g.seen && token.Target == "xml" {
			return "", errTooLate
		}
	}
	return "", nil
}

// explain turns an error of encoding/xml into one about the text.
func explain(err error) error {
	syntax, ok := errors.AsType[*xml.SyntaxError](err)
	switch {
	case ok && strings.Contains(syntax.Msg, "unexpected EOF"), errors.Is(err, io.EOF):
		return errCutShort
	case ok:
		return errors.New(syntax.Msg)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "xml: "))
}

func name(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// charset accepts encodings that need no decoding.
func charset(label string, r io.Reader) (io.Reader, error) {
	if strings.EqualFold(label, "us-ascii") || strings.EqualFold(label, "ascii") {
		return r, nil
	}
	return nil, errors.New("want UTF-8")
}

// ReadByte gives encoding/xml the text from the current position, and no more than each token
// needs.
func (d *reader) ReadByte() (byte, error) {
	if d.taken++; d.taken > longestToken {
		return 0, errTooLong
	}
	for d.at == len(d.cur.data) {
		if err := d.nextPiece(); err != nil {
			return 0, err
		}
	}
	d.previous, d.last = d.last, d.cur.data[d.at]
	d.at++
	return d.last, nil
}

// Read makes the reader an io.Reader, as xml.NewDecoder requires; xml.NewDecoder uses ReadByte.
func (d *reader) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }
