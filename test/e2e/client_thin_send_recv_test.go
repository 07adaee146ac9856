package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/metadata"
)

// LINBIT/thin-send-recv (thin_send_recv.c, thin_delta_scanner.fl) has a token scanner and a fixed
// grammar: no other elements, attributes or order.
func TestClient_thin_send_recv(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	want := read(t, path, true)
	s := newScanner(asked(t, "thin_delta", "-m", "--snap1", "1", "--snap2", "2", path))
	sameStretches(t, s.delta(), want.delta(1, 2))
	s.end(t)
	for id, details := range want.details {
		s := newScanner(asked(t, "thin_dump", "-m", "--dev-id", fmt.Sprint(id), path))
		got, mappings := s.dump()
		s.end(t)
		if got.id != id || got.details != details {
			t.Errorf("device %+v, want %d %+v", got, id, details)
		}
		sameBlocks(t, mappings, want.mappings[id])
	}
}

// A scanner has the rest of the text and the first error.
type scanner struct {
	text string
	err  error
}

func newScanner(text string) *scanner { return &scanner{text: text} }

// Values have at most 20 characters.
var scannerToken = regexp.MustCompile(`^[ \t\r\n]*(</?[a-z_]+|/?>|[a-z_]+=|"[^"]{0,20}")`)

// next returns the next token; "" at the end.
func (s *scanner) next() string {
	m := scannerToken.FindStringSubmatchIndex(s.text)
	if m == nil {
		return ""
	}
	token := s.text[m[2]:m[3]]
	s.text = s.text[m[1]:]
	return token
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
}

// attributes parses the named attributes in this order, and the token after them. A name that ends
// in ? is optional. All values are returned as numbers; uuid as 0.
func (s *scanner) attributes(end string, names ...string) map[string]uint64 {
	values := map[string]uint64{}
	token := s.next()
	for _, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		if token != name+"=" {
			if !optional {
				s.fail("%q where %s should be", token, name)
			}
			continue
		}
		value := s.next()
		if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 64); err == nil {
			values[name] = n
		} else if value != `""` || name != "uuid" {
			s.fail("%s is %s", name, value)
		}
		token = s.next()
	}
	if token != end {
		s.fail("%q where %q should be", token, end)
	}
	return values
}

func (s *scanner) expect(tokens ...string) {
	for _, want := range tokens {
		if got := s.next(); got != want {
			s.fail("%q where %q should be", got, want)
		}
	}
}

// end checks that everything has been read without an error.
func (s *scanner) end(t *testing.T) {
	t.Helper()
	if s.err != nil || strings.TrimSpace(s.text) != "" {
		t.Fatalf("%v; %.40q is left", s.err, s.text)
	}
}

func (s *scanner) delta() (found []stretch) {
	s.expect("<superblock")
	s.attributes(">", "uuid", "time", "transaction", "data_block_size", "nr_data_blocks")
	s.expect("<diff")
	s.attributes(">", "left", "right")
	for tag := s.next(); tag != "</diff" && s.err == nil; tag = s.next() {
		if !slices.Contains([]string{"<same", "<different", "<left_only", "<right_only"}, tag) {
			s.fail("token %q", tag)
		}
		values := s.attributes("/>", "begin", "length")
		found = append(found, stretch{tag[1:], values["begin"], values["length"]})
	}
	s.expect(">", "</superblock", ">")
	return found
}

type scannedDevice struct {
	id      metadata.DevID
	details metadata.Details
}

// dump parses a dump of one device.
func (s *scanner) dump() (device scannedDevice, mappings blocks) {
	mappings = blocks{}
	s.expect("<superblock")
	s.attributes(">", "uuid", "time", "transaction", "flags?", "version", "data_block_size", "nr_data_blocks")
	s.expect("<device")
	d := s.attributes(">", "dev_id", "mapped_blocks", "transaction", "creation_time", "snap_time")
	device.id = metadata.DevID(d["dev_id"])
	device.details = metadata.Details{
		MappedBlocks: d["mapped_blocks"], TransactionID: d["transaction"],
		CreationTime: uint32(d["creation_time"]), SnapshottedTime: uint32(d["snap_time"]),
	}
	for tag := s.next(); tag != "</device" && s.err == nil; tag = s.next() {
		switch tag {
		case "<single_mapping":
			m := s.attributes("/>", "origin_block", "data_block", "time")
			mappings.add(m["origin_block"], m["data_block"], 1)
		case "<range_mapping":
			m := s.attributes("/>", "origin_begin", "data_begin", "length", "time")
			mappings.add(m["origin_begin"], m["data_begin"], m["length"])
		default:
			s.fail("token %q", tag)
		}
	}
	s.expect(">", "</superblock", ">")
	return device, mappings
}
