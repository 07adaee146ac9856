package report_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/report"
)

// mostBytes is the maximum size of a page.
const mostBytes = 300 << 10

// page returns the page about r, and checks that it follows the rules for all pages.
func page(t *testing.T, r *report.Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil {
		t.Fatal(err)
	}
	if out.Len() > mostBytes {
		t.Errorf("the page has %d bytes, want at most %d", out.Len(), mostBytes)
	}
	for _, broken := range brokenRules(out.String()) {
		t.Error(broken)
	}
	return out.String()
}

// brokenRules returns the rules that a page breaks. A page loads and runs nothing, elements end
// where they should, and each picture says what it is.
func brokenRules(text string) (broken []string) {
	tag := regexp.MustCompile(`<[^>]*>`)
	for _, m := range append(tag.FindAllString(text, -1), "") {
		for _, bad := range []string{"<script", "http:", "https:", "<link", "<iframe", "<object", "javascript:", " on"} {
			if strings.Contains(strings.ToLower(m), bad) {
				broken = append(broken, fmt.Sprintf("%s is in %s", bad, m))
			}
		}
	}
	if !strings.Contains(text, `content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"`) {
		broken = append(broken, "no policy")
	}
	for _, style := range []string{"@import", "url("} {
		if strings.Contains(text, style) {
			broken = append(broken, style)
		}
	}
	d := xml.NewDecoder(strings.NewReader(text))
	for untitled := ""; ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return broken
		}
		if err != nil {
			return append(broken, err.Error())
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		attr := map[string]string{}
		for _, a := range e.Attr {
			attr[a.Name.Local] = a.Value
		}
		switch name := e.Name.Local; {
		case untitled != "" && name != "title":
			broken = append(broken, "a "+untitled+" without a title")
			untitled = ""
		case name == "title":
			untitled = ""
		case name == "svg" && attr["aria-hidden"] == "true":
		case name == "svg" && attr["role"] == "img":
			untitled = name
		case name == "img" && attr["role"] == "img" && attr["title"] != "" && attr["alt"] != "" && strings.HasPrefix(attr["src"], "data:image/png;base64,"):
		case name == "svg" || name == "img":
			broken = append(broken, "a picture without a role: "+name)
		}
	}
}

// Broken rules are detected.
func TestBrokenRules(t *testing.T) {
	const good = `<html><meta content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/><svg role="img"><title>a</title></svg></html>`
	if broken := brokenRules(good); broken != nil {
		t.Fatal(broken)
	}
	for _, add := range []string{
		`<script/>`, `<a href="https://a/"/>`, `<p>`, `<svg role="img"><path/></svg>`, `<svg><title>a</title></svg>`, `<img role="img" src="data:image/png;base64,"/>`, `<p onclick="a"/>`,
		`<style>@import "a"</style>`, `&nbsp;`,
	} {
		if brokenRules(strings.Replace(good, "</html>", add+"</html>", 1)) == nil {
			t.Errorf("%s is good", add)
		}
	}
}

// Pages of all pools follow the rules, including pools that no kernel made.
func TestPages(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) { page(t, run(t, fixtures.Mem(t, name), report.Options{Pool: name})) })
	}
	for seed := range uint64(16) {
		t.Run(fmt.Sprint("hostile ", seed), func(t *testing.T) {
			r := run(t, fixtures.Hostile(t, seed, 512), report.Options{})
			page(t, r)
			if err := r.Prometheus(io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
}

// many is a pool with n devices, each of which shares a leaf with the one before.
func many(t *testing.T, n int) block.Device {
	f := fixtures.NewForge(t, block.Nr(3*n+200), uint64(1000*n))
	leaves := make([]block.Nr, n+1)
	for i := range leaves {
		leaves[i] = f.Leaf(metadata.Run{Thin: metadata.ThinBlock(1000 * i), Data: metadata.DataBlock(i * 7), Len: 5})
	}
	for i := range n {
		f.Device(metadata.DevID(i+1), f.Inner(leaves[i], leaves[i+1]))
	}
	return f.Finish()
}

// A pool of a thousand devices with the longest names has a page like any other; devices beyond
// the limit are summed up.
func TestThousandDevices(t *testing.T) {
	name := strings.Repeat(`&"\`, 200)
	r := run(t, many(t, 1000), report.Options{Pool: name, Volume: func(metadata.DevID) (report.LVM, bool) {
		return report.LVM{Name: name, Size: 1 << 60}, true
	}})
	text := page(t, r)
	if !strings.Contains(text, "and 900 more") || !strings.Contains(text, "960 devices are left out") {
		t.Error("what is left out is not counted")
	}
	if len(r.Volumes) != 1000 || len(r.Sharing.Devices) != report.MostSharing {
		t.Errorf("%d volumes, %d of them compared", len(r.Volumes), len(r.Sharing.Devices))
	}
	for i := 1; i < report.MostSharing; i++ {
		if n := r.Sharing.Common[i-1][i]; n != 5 {
			t.Errorf("devices %d and %d have %d blocks in common, want 5", i-1, i, n)
		}
	}
}

// A pool with more faults than fit on a page has a page like any other.
func TestManyFaults(t *testing.T) {
	dev := fixtures.Mem(t, "many-devices")
	for nr := block.Nr(1); nr < block.Blocks(dev); nr++ {
		var b block.Data
		if err := block.Read(dev, nr, &b); err != nil {
			t.Fatal(err)
		}
		if b[4] == 2 { // a leaf
			if err := block.Write(dev, nr, &block.Data{1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := run(t, dev, report.Options{})
	text := page(t, r)
	if sum := r.Check; r.Omitted+uint64(len(r.Faults)) != sum.Fatal+sum.NonFatal+sum.Notes || r.Check.Fatal == 0 {
		t.Errorf("%d faults, %d omitted, of %+v", len(r.Faults), r.Omitted, sum)
	}
	if !strings.Contains(text, "fatal fault") {
		t.Error(text)
	}
}

// Names from outside cannot break the page or the gauges.
func TestHostileNames(t *testing.T) {
	hostile := []string{
		`"><script>alert(1)</script>`, "a\nb{} 1\n", "\x1b[31mred", "\u202egnp", "]]>", "<!--", "%s%d%!", `\`, "a\xffb", `' onload='x`, "&lt;",
	}
	for _, name := range hostile {
		r := run(t, damaged(t), report.Options{Pool: name, Volume: func(id metadata.DevID) (report.LVM, bool) {
			return report.LVM{Name: name, HasOrigin: true, Origin: id ^ 1}, true
		}})
		r.Differences = report.Differences{{Text: name, Fix: []string{name}}}
		text := page(t, r)
		if i := strings.IndexFunc(text, func(c rune) bool { return c < ' ' && c != '\n' || c == '\u202e' || c == '\ufffd' }); i >= 0 {
			t.Errorf("%q: a control character at %d", name, i)
		}
		if strings.Contains(text, "%!") && name != "%s%d%!" {
			t.Errorf("%q: a format went wrong", name)
		}
		checkGauges(t, r)
	}
}

// checkGauges parses the gauges of r and returns their values.
func checkGauges(t *testing.T, r *report.Report) map[string]string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Prometheus(&out); err != nil {
		t.Fatal(err)
	}
	sample := regexp.MustCompile(`^([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\]|\\[\\n"])*",?)+\}) (\d+)$`)
	described := ""
	values := map[string]string{}
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSuffix(line, "\n")
		if kind, ok := strings.CutPrefix(line, "# TYPE "); ok {
			described = strings.TrimSuffix(kind, " gauge")
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil || m[1] != described {
			t.Errorf("%q is not a sample of %s", line, described)
			continue
		}
		if _, twice := values[m[1]+m[2]]; twice {
			t.Errorf("%s is there twice", m[1]+m[2])
		}
		values[m[1]+m[2]] = m[3]
	}
	return values
}

// The gauges have the values of the report, with valid labels.
func TestGauges(t *testing.T) {
	r := run(t, fixtures.Mem(t, "needs-check"), report.Options{Pool: `a"b\c`, Volume: func(id metadata.DevID) (report.LVM, bool) {
		return report.LVM{Name: fmt.Sprint("v", id)}, true
	}})
	values := checkGauges(t, r)
	want := map[string]uint64{
		`thinpool_needs_check{pool="a\"b\\c"}`:             1,
		`thinpool_data_blocks{pool="a\"b\\c"}`:             r.Superblock.DataSpaceMap.NrBlocks,
		`thinpool_data_blocks_used{pool="a\"b\\c"}`:        r.Superblock.DataSpaceMap.NrAllocated,
		`thinpool_metadata_blocks{pool="a\"b\\c"}`:         r.Superblock.MetadataSpaceMap.NrBlocks,
		`thinpool_metadata_blocks_used{pool="a\"b\\c"}`:    r.Superblock.MetadataSpaceMap.NrAllocated,
		`thinpool_transaction_id{pool="a\"b\\c"}`:          r.Superblock.TransactionID,
		`thinpool_faults{pool="a\"b\\c",severity="fatal"}`: r.Check.Fatal,
		`thinpool_faults{pool="a\"b\\c",severity="note"}`:  r.Check.Notes,
		`thinpool_superblock_readable{pool="a\"b\\c"}`:     1,
	}
	for _, v := range r.Volumes {
		labels := fmt.Sprintf(`{pool="a\"b\\c",volume="v%d",dev_id="%d"}`, v.ID, v.ID)
		want["thinpool_volume_mapped_blocks"+labels], want["thinpool_volume_exclusive_blocks"+labels], want["thinpool_volume_shared_blocks"+labels] = v.MappedBlocks, v.Exclusive, v.Shared
	}
	for name, n := range want {
		if values[name] != fmt.Sprint(n) {
			t.Errorf("%s is %q, want %d", name, values[name], n)
		}
	}
}

// The map is a valid PNG, and it follows the curve: every cell of the first half of the device is
// in the left half of the square.
func TestMap(t *testing.T) {
	f := fixtures.NewForge(t, 400, 200*252)
	var leaves []block.Nr
	for i := range 100 {
		leaves = append(leaves, f.Leaf(metadata.Run{Thin: metadata.ThinBlock(i * 252), Data: metadata.DataBlock(i * 252), Len: 252}))
	}
	f.Device(1, f.Inner(leaves...))
	text := page(t, run(t, f.Finish(), report.Options{}))
	_, encoded, _ := strings.Cut(text, "data:image/png;base64,")
	encoded, _, _ = strings.Cut(encoded, `"`)
	content, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if size := picture.Bounds().Size(); size.X != report.Side || size.Y != report.Side {
		t.Fatalf("the picture is %v", size)
	}
	for y := range report.Side {
		for x := range report.Side {
			_, _, blue, alpha := picture.At(x, y).RGBA()
			if used := blue*2 > alpha && alpha == 0xffff; used != (x < report.Side/2) {
				t.Fatalf("cell %d, %d: in use %v", x, y, used)
			}
		}
	}
}

// The report says what limits a pool.
func TestStates(t *testing.T) {
	for name, want := range map[string]report.Level{"layers": report.Good, "needs-check": report.Warning, "powercut": report.Good, "out-of-data": report.Warning, "empty": report.Good} {
		if level, state := run(t, fixtures.Mem(t, name), report.Options{}).State(); level != want {
			t.Errorf("%s: %s, %q, want %s", name, level, state, want)
		}
	}
	if n := fixtures.Names(); !slices.Contains(n, "empty") {
		t.Error(n)
	}
}
