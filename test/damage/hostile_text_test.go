package damage

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"thinpool/internal/write"
	"thinpool/jsonfmt"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/xmlfmt"
)

// endless is a very long text: head, then middle repeated. So the reader's limits are tested, not
// the memory that holds the text.
type endless struct {
	head, middle string
	left         int64 // bytes left to repeat
	at           int   // in the current part
}

func endlessly(head, middle string) *endless {
	return &endless{head: head, middle: middle, left: 1 << 40}
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		part := e.head
		if part == "" {
			part = e.middle
		}
		m := copy(p[n:], part[e.at:])
		n += m
		e.at += m
		if e.head == "" {
			e.left -= int64(m)
		}
		if e.at == len(part) {
			e.head, e.at = "", 0
		}
		if e.left <= 0 {
			return n, io.EOF
		}
	}
	return n, nil
}

const (
	xmlHead  = `<superblock uuid="" time="1" transaction="1" flags="0" version="2" data_block_size="128" nr_data_blocks="1000">` + "\n"
	xmlThin  = `<device dev_id="1" mapped_blocks="0" transaction="0" creation_time="0" snap_time="0">` + "\n"
	jsonHead = `{"type":"superblock","format":1,"uuid":"","time":1,"transaction_id":1,"flags":0,"version":2,"data_block_size":128,"data_blocks":1000}` + "\n"
	jsonThin = `{"type":"device","dev_id":1,"mapped_blocks":0,"transaction_id":0,"creation_time":0,"snap_time":0}` + "\n"
)

// text returns a reader of head and n repetitions of middle.
func text(head string, n int, middle string) io.Reader {
	return strings.NewReader(head + strings.Repeat(middle, n))
}

type readFunc func(context.Context, io.Reader, metadata.Visitor) error

func readXML(ctx context.Context, r io.Reader, v metadata.Visitor) error {
	return xmlfmt.Read(ctx, r, v, xmlfmt.Options{})
}

func readJSON(ctx context.Context, r io.Reader, v metadata.Visitor) error {
	return jsonfmt.Read(ctx, r, v, jsonfmt.Options{})
}

// Each text fails with an error that says what is wrong, however long it is, and before much of it
// was kept in memory.
var hostileTexts = []struct {
	name string
	read readFunc
	in   func() io.Reader
	says string // part of the error
}{
	{"xml: a million levels", readXML, func() io.Reader { return text(xmlHead, 1e6, "<device>") }, "device"},
	{"xml: unknown elements for ever", readXML, func() io.Reader { return endlessly(xmlHead, "<a>") }, "unknown element"},
	{"xml: attribute without end", readXML, func() io.Reader { return endlessly(xmlHead+`<device dev_id="1`, "1") }, "longer than"},
	{"xml: attributes without end", readXML, func() io.Reader { return endlessly(xmlHead+`<device`, ` a="1"`) }, "longer than"},
	{"xml: name without end", readXML, func() io.Reader { return endlessly(xmlHead+"<", "a") }, "longer than"},
	{"xml: comment without end", readXML, func() io.Reader { return endlessly(xmlHead+"<!--", " a") }, "longer than"},
	{"xml: text without end", readXML, func() io.Reader { return endlessly(xmlHead, "x") }, "text"},
	{"xml: entities of entities", readXML, func() io.Reader {
		var s strings.Builder
		s.WriteString(`<!DOCTYPE a [<!ENTITY e0 "eeeeeeeeee">`)
		for i := range 20 {
			fmt.Fprintf(&s, `<!ENTITY e%d "&e%d;&e%d;&e%d;&e%d;&e%d;&e%d;&e%d;&e%d;">`, i+1, i, i, i, i, i, i, i, i)
		}
		s.WriteString("]>" + strings.Replace(xmlHead, `uuid=""`, `uuid="&e20;"`, 1))
		return strings.NewReader(s.String())
	}, ""},
	{"xml: number of a million digits", readXML, func() io.Reader {
		return strings.NewReader(xmlHead + `<device dev_id="` + strings.Repeat("9", 1e6) + `"/>`)
	}, "dev_id"},
	{"xml: range of 2^63 blocks", readXML, func() io.Reader {
		return strings.NewReader(xmlHead + xmlThin + `<range_mapping origin_begin="0" data_begin="0" length="9223372036854775808" time="0"/>`)
	}, "data block"},
	{"xml: range up to 2^64", readXML, func() io.Reader {
		return strings.NewReader(xmlHead + xmlThin + `<range_mapping origin_begin="18446744073709551615" data_begin="0" length="2" time="0"/>`)
	}, ""},
	{"xml: 2^63 data blocks", readXML, func() io.Reader {
		return strings.NewReader(strings.Replace(xmlHead, "1000", "9223372036854775808", 1) + "</superblock>")
	}, "nr_data_blocks"},
	{"xml: more mappings than metadata can hold", readXML, func() io.Reader {
		return strings.NewReader(strings.Replace(xmlHead, "1000", "1099511627776", 1) + xmlThin +
			`<range_mapping origin_begin="0" data_begin="0" length="1099511627776" time="0"/></device></superblock>`)
	}, "metadata"},
	{"xml: a def that refers to itself", readXML, func() io.Reader {
		return strings.NewReader(xmlHead + `<def name="a"><ref name="a"/></def>`)
	}, "ref"},
	{"xml: zeroes", readXML, func() io.Reader { return endlessly("", "\x00") }, ""},
	{"json: line without end", readJSON, func() io.Reader { return endlessly(jsonHead+`{"type":"`, "x") }, "longer than"},
	{"json: a million levels", readJSON, func() io.Reader { return text(jsonHead+`{"type":`, 5e5, "[") }, ""},
	{"json: keys without end", readJSON, func() io.Reader { return endlessly(jsonHead+`{`, `"a":1,`) }, "longer than"},
	{"json: number of many digits", readJSON, func() io.Reader {
		return strings.NewReader(jsonHead + `{"type":"device","dev_id":` + strings.Repeat("9", 1e6) + "}\n")
	}, ""},
	{"json: long unknown field", readJSON, func() io.Reader {
		return strings.NewReader(jsonHead + `{"` + strings.Repeat("x", 1e6) + `":1}` + "\n")
	}, "unknown field"},
	{"json: long unknown type", readJSON, func() io.Reader {
		return strings.NewReader(jsonHead + `{"type":"` + strings.Repeat("x", 1e6) + `"}` + "\n")
	}, "unknown type"},
	{"json: long unknown name", readJSON, func() io.Reader {
		return strings.NewReader(jsonHead + jsonThin + `{"type":"ref","name":"` + strings.Repeat("x", 1e6) + `"}` + "\n")
	}, ""},
	{"json: number with exponent", readJSON, func() io.Reader {
		return strings.NewReader(jsonHead + jsonThin + `{"type":"range","thin_begin":0,"data_begin":0,"length":1e999999999,"time":0}` + "\n")
	}, ""},
	{"json: range of 2^63 blocks", readJSON, func() io.Reader {
		return strings.NewReader(jsonHead + jsonThin + `{"type":"range","thin_begin":0,"data_begin":0,"length":9223372036854775808,"time":0}` + "\n")
	}, "data block"},
	{"json: range up to 2^64", readJSON, func() io.Reader {
		return strings.NewReader(jsonHead + jsonThin + `{"type":"range","thin_begin":18446744073709551615,"data_begin":0,"length":2,"time":0}` + "\n")
	}, ""},
	{"json: superblocks for ever", readJSON, func() io.Reader { return endlessly("", jsonHead) }, "superblock"},
	{"json: zeroes", readJSON, func() io.Reader { return endlessly("", "\x00") }, "longer than"},
}

func TestHostileText(t *testing.T) {
	for _, tc := range hostileTexts {
		t.Run(tc.name, func(t *testing.T) {
			err := bounded(t, func(ctx context.Context) error {
				b := write.New(write.Options{Parallel: 1})
				if err := tc.read(ctx, tc.in(), b); err != nil {
					return err
				}
				return b.Write(ctx, blocktest.NewMem(64*block.Size))
			})
			switch {
			case err == nil:
				t.Fatal("no error")
			case !strings.Contains(err.Error(), tc.says):
				t.Errorf("error %q, want one with %q", short(err.Error()), tc.says)
			case len(err.Error()) > 500:
				t.Errorf("an error of %d bytes: %s", len(err.Error()), short(err.Error()))
			}
		})
	}
}
