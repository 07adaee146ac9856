package accept

import (
	"encoding/xml"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/fixtures"
)

// stretch is what a client takes from a line of thin_delta.
type stretch struct {
	tag           string
	begin, length uint64
}

// A client is a program that parses what thin_delta prints, as far as we know how. The
// parsers here are as narrow as theirs.
type client struct {
	args  []string // before the device
	parse func(out string) (blockSize uint64, found []stretch, err error)
	takes []string // the tags that it makes use of
}

var clients = map[string]client{
	"thin-send-recv": {[]string{"-m", "--snap1", "1", "--snap2", "2"}, scanTokens, []string{"same", "different", "left_only", "right_only"}},
	"wyng":           {[]string{"--metadata-snap", "--thin1=1", "--thin2=2"}, withoutSame, []string{"different", "left_only", "right_only"}},
	"OpenNebula":     {[]string{"--metadata-snap", "--thin1", "1", "--thin2", "2"}, byPath, []string{"different", "right_only"}},
	"borg":           {[]string{"-m", "--snap1", "1", "--snap2", "2"}, streamed, []string{"same", "different", "left_only", "right_only"}},
	"awk":            {[]string{"-m", "--snap1", "1", "--snap2", "2"}, byLine, []string{"different", "left_only", "right_only"}},
}

// Programs that are known to parse our output find in it what is there.
func TestDeltaClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta")
	fixtures.Write(t, "metadata-snap", path)
	var all []stretch
	for line := range strings.Lines(ours(t, "thin_delta", "-m", "--thin1", "1", "--thin2", "2", "-f", "csv", path)) {
		if fields := strings.Split(strings.TrimSpace(line), ","); fields[0] != "type" {
			all = append(all, stretch{fields[0], must(strconv.ParseUint(fields[1], 10, 64)), must(strconv.ParseUint(fields[2], 10, 64))})
		}
	}
	if len(all) < 1000 {
		t.Fatalf("only %d ranges to compare with", len(all))
	}
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			r := run(t, filepath.Join(tools, "thin_delta"), append(c.args, path)...)
			blockSize, found, err := c.parse(r.out + r.stderr) // some read both at once
			if err != nil || r.code != 0 || blockSize != 128 {
				t.Fatalf("exit code %d, data blocks of %d sectors, %v", r.code, blockSize, err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(s stretch) bool { return !slices.Contains(c.takes, s.tag) })
			slices.SortFunc(found, func(a, b stretch) int { return int(int64(a.begin) - int64(b.begin)) })
			if !slices.Equal(found, want) {
				t.Errorf("%d ranges are found, want %d", len(found), len(want))
			}
		})
	}
	// wyng compares five characters as text.
	if v := ours(t, "thin_delta", "-V"); v[:5] < "0.7.4" {
		t.Errorf("version %q", v)
	}
}

// scanTokens has the grammar of a generated scanner: tokens in one order, and values of at
// most 20 characters. What follows the last token must be white space.
func scanTokens(out string) (blockSize uint64, found []stretch, err error) {
	token := regexp.MustCompile(`^[ \t\r\n]*(</?[a-z_]+|/?>|[a-z_]+=|"[^"]{0,20}")`)
	next := func() string {
		m := token.FindStringSubmatchIndex(out)
		if m == nil {
			return ""
		}
		t := out[m[2]:m[3]]
		out = out[m[1]:]
		return t
	}
	expect := func(want ...string) []string {
		var values []string
		for _, w := range want {
			got := next()
			if strings.HasPrefix(got, `"`) && w == "" {
				values = append(values, got[1:len(got)-1])
			} else if got != w && err == nil {
				err = fmt.Errorf("%q where %q should be", got, w)
			}
		}
		return append(values, "", "", "", "")[:4]
	}
	number := func(s string) uint64 {
		n, e := strconv.ParseUint(s, 10, 64)
		if err == nil {
			err = e
		}
		return n
	}
	head := expect("<superblock", "uuid=", "", "time=", "", "transaction=", "", "data_block_size=", "", "nr_data_blocks=", "", ">")
	expect("<diff", "left=", "", "right=", "", ">")
	blockSize = number(head[3])
	for err == nil {
		tag := next()
		if tag == "</diff" {
			expect(">", "</superblock", ">")
			break
		}
		if !slices.Contains([]string{"<same", "<different", "<left_only", "<right_only"}, tag) {
			return 0, nil, fmt.Errorf("token %q", tag)
		}
		values := expect("begin=", "", "length=", "", "/>")
		found = append(found, stretch{tag[1:], number(values[0]), number(values[1])})
	}
	if strings.TrimSpace(out) != "" && err == nil {
		err = fmt.Errorf("%.20q after the end", out)
	}
	return blockSize, found, err
}

// withoutSame drops lines that consist of one element same and parses the rest.
func withoutSame(out string) (uint64, []stretch, error) {
	same := regexp.MustCompile(`^\s*<same .*/>$`)
	var kept []string
	for line := range strings.SplitSeq(out, "\n") {
		if !same.MatchString(line) {
			kept = append(kept, line)
		}
	}
	size, found, err := streamed(strings.Join(kept, "\n"))
	if slices.ContainsFunc(found, func(s stretch) bool { return s.tag == "same" }) {
		err = fmt.Errorf("an element same shares its line")
	}
	return size, found, err
}

// byPath looks up paths in a document.
func byPath(out string) (uint64, []stretch, error) {
	type at struct {
		Begin  uint64 `xml:"begin,attr"`
		Length uint64 `xml:"length,attr"`
	}
	var doc struct {
		XMLName   xml.Name `xml:"superblock"`
		BlockSize uint64   `xml:"data_block_size,attr"`
		Diff      struct {
			Different []at `xml:"different"`
			RightOnly []at `xml:"right_only"`
		} `xml:"diff"`
	}
	err := xml.Unmarshal([]byte(out), &doc)
	var found []stretch
	for _, a := range doc.Diff.Different {
		found = append(found, stretch{"different", a.Begin, a.Length})
	}
	for _, a := range doc.Diff.RightOnly {
		found = append(found, stretch{"right_only", a.Begin, a.Length})
	}
	return doc.BlockSize, found, err
}

// streamed goes through the elements; those in diff must be of four names, in order, and must
// not overlap.
func streamed(out string) (blockSize uint64, found []stretch, err error) {
	attr := func(e xml.StartElement, name string) uint64 {
		for _, a := range e.Attr {
			if a.Name.Local == name {
				n, e := strconv.ParseUint(a.Value, 10, 64)
				if err == nil {
					err = e
				}
				return n
			}
		}
		err = fmt.Errorf("%s has no %s", e.Name.Local, name)
		return 0
	}
	d := xml.NewDecoder(strings.NewReader(out))
	end := uint64(0)
	for {
		token, _ := d.Token()
		if token == nil || err != nil {
			return blockSize, found, err
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch tag := e.Name.Local; tag {
		case "superblock":
			blockSize = attr(e, "data_block_size")
		case "diff":
		case "same", "different", "left_only", "right_only":
			s := stretch{tag, attr(e, "begin"), attr(e, "length")}
			if s.begin < end || s.length == 0 {
				return 0, nil, fmt.Errorf("%v overlaps what is before it", s)
			}
			end = s.begin + s.length
			found = append(found, s)
		default:
			return 0, nil, fmt.Errorf("element %s", tag)
		}
	}
}

// byLine looks for words in lines, the size before the ranges.
func byLine(out string) (blockSize uint64, found []stretch, err error) {
	size := regexp.MustCompile(`data_block_size="(\d+)"`)
	begin, length := regexp.MustCompile(`begin="(\d+)"`), regexp.MustCompile(`length="(\d+)"`)
	for line := range strings.Lines(out) {
		if m := size.FindStringSubmatch(line); m != nil {
			blockSize = must(strconv.ParseUint(m[1], 10, 64))
		}
		for _, tag := range []string{"different", "right_only", "left_only"} {
			if !strings.Contains(line, "<"+tag+" ") {
				continue
			}
			b, n := begin.FindStringSubmatch(line), length.FindStringSubmatch(line)
			if b == nil || n == nil || blockSize == 0 {
				return 0, nil, fmt.Errorf("line %q", line)
			}
			found = append(found, stretch{tag, must(strconv.ParseUint(b[1], 10, 64)), must(strconv.ParseUint(n[1], 10, 64))})
		}
	}
	return blockSize, found, nil
}

// What lies beyond the end of the device is left out on request, as borg demands and wyng does itself.
func TestDeltaClip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta")
	fixtures.Write(t, "metadata-snap", path)
	const blocks, sectors = 70001, 128
	_, found, err := streamed(ours(t, "thin_delta", "--size", fmt.Sprint(blocks*sectors*512), "--thin1", "1", "--thin2", "2", path))
	if err != nil || len(found) == 0 {
		t.Fatal(err)
	}
	if last := found[len(found)-1]; last.begin+last.length > blocks {
		t.Errorf("%v lies beyond the end", last)
	}
}
