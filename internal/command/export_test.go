package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

const exportBlock = metadata.MinDataBlockSize * cli.SectorSize

// Every way to export yields the bytes that the mappings describe.
func TestExport(t *testing.T) {
	p := newExportPool(t)
	const last = 90 * exportBlock
	image := p.file("image", slices.Concat(noise(5, 1<<20+512), p.dataContent))
	for name, tc := range map[string]struct {
		args   []string
		id     metadata.DevID
		size   int
		origin bool
	}{
		"default size": {[]string{"--dev-id", "1"}, 1, last, false},
		"larger":       {[]string{"--device", "2", "--size", "10m"}, 2, 10 << 20, false},
		"smaller":      {[]string{"--dev-id", "1", "--size", "4096512"}, 1, 4096512, false},
		"origin":       {[]string{"--dev-id", "2", "--size", "8m", "--origin", p.origin}, 2, 8 << 20, true},
		"image":        {[]string{"--dev-id", "1", "--data", image, "--data-offset", "2049s"}, 1, last, false},
		"root":         {[]string{"--root", strconv.Itoa(int(p.root(2)))}, 2, last, false},
	} {
		out := p.path("out " + name)
		stdout, stderr := p.run(0, append(tc.args, "-o", out, "--verify", "--ranges", out+".json")...)
		if stdout != "" || strings.Contains(stderr, "assuming a size of") == slices.Contains(tc.args, "--size") {
			t.Errorf("%s: stdout %q, stderr %q", name, stdout, stderr)
		}
		want := p.want(tc.id, tc.size, tc.origin)
		if !bytes.Equal(p.read(out), want) {
			t.Errorf("%s: the file is wrong", name)
		}
		if stdout, _ := p.run(0, append(tc.args, "-o", "-")...); stdout != string(want) {
			t.Errorf("%s: the stream is wrong", name)
		}
		at := int64(0)
		for _, r := range p.ranges(p.read(out + ".json")) {
			if r.Begin != at {
				t.Errorf("%s: ranges: %+v after byte %d", name, r, at)
			}
			if at += r.Length; r.Type != "data" && !zero(want[r.Begin:at]) {
				t.Errorf("%s: %+v is not zero", name, r)
			}
		}
		if at != int64(tc.size) {
			t.Errorf("%s: the ranges end at %d", name, at)
		}
		if files, _ := filepath.Glob(out + ".resume*"); files != nil {
			t.Errorf("%s: left over: %v", name, files)
		}
	}
}

// The changes applied to the older device yield the newer one.
func TestExportChangedSince(t *testing.T) {
	p := newExportPool(t)
	const size = 6<<20 + 512
	tested := 0
	for _, origin := range []bool{false, true} {
		for older := range metadata.DevID(4) {
			for newer := range metadata.DevID(4) {
				if older == 0 || newer == 0 {
					continue
				}
				args := []string{"--dev-id", fmt.Sprint(newer), "--changed-since", fmt.Sprint(older), "--size", fmt.Sprint(size), "--format", "json"}
				if origin {
					args = append(args, "--origin", p.origin)
				}
				out := p.path(fmt.Sprint("out", origin, older, newer))
				stdout, stderr := p.run(0, append(args, "-o", out, "--verify")...)
				listed, _ := p.run(0, args...)
				if stderr != "" || listed != stdout {
					t.Errorf("stderr %q; the list alone is %q, not %q", stderr, listed, stdout)
				}
				content, changes, end := p.want(older, size, origin), p.read(out), int64(0)
				for _, r := range p.ranges([]byte(stdout)) {
					if r.Begin < end {
						t.Errorf("%+v begins before %d", r, end)
					}
					end = r.Begin + r.Length
					switch at := content[r.Begin:end]; r.Type {
					case "data":
						copy(at, changes[r.Begin:end])
					case "zero":
						clear(at)
					default:
						t.Errorf("%+v", r)
					}
					clear(changes[r.Begin:end])
					tested++
				}
				if !bytes.Equal(content, p.want(newer, size, origin)) {
					t.Errorf("from %d to %d: the result is wrong", older, newer)
				}
				if !zero(changes) || int64(len(changes)) != size {
					t.Errorf("from %d to %d: the file has more than what changed, or not its size", older, newer)
				}
				if (older == newer) != (strings.Count(stdout, "\n") == 1) {
					t.Errorf("from %d to %d: %s", older, newer, stdout)
				}
			}
		}
	}
	if tested < 20 {
		t.Errorf("only %d ranges", tested)
	}
}

// The device-mapper table describes the content sector by sector.
func TestExportMap(t *testing.T) {
	p := newExportPool(t)
	const size = 9<<20 + 512
	for name, args := range map[string][]string{
		"plain":  {},
		"offset": {"--data-offset", "64k"},
		"origin": {"--origin", p.origin},
	} {
		data := p.data
		if name == "offset" {
			data = p.file("image", slices.Concat(make([]byte, 64<<10), p.dataContent))
		}
		table, _ := p.run(0, append(args, "--dev-id", "2", "--size", fmt.Sprint(size), "--map", "dmsetup", "--data", data)...)
		content := make([]byte, 0, size)
		for line := range strings.Lines(table) {
			f := strings.Fields(line)
			start, length := number64(t, f[0])*cli.SectorSize, number64(t, f[1])*cli.SectorSize
			if start != len(content) || length == 0 {
				t.Fatalf("%s: %q after byte %d", name, line, len(content))
			}
			switch {
			case len(f) == 3 && f[2] == "zero":
				content = append(content, make([]byte, length)...)
			case len(f) == 5 && f[2] == "linear":
				content = append(content, p.read(f[3])[number64(t, f[4])*cli.SectorSize:][:length]...)
			default:
				t.Fatalf("%s: %q", name, line)
			}
		}
		want := p.want(2, size, false)
		if name == "origin" {
			want = p.want(2, size, true)
		}
		if !bytes.Equal(content, want) {
			t.Errorf("%s: the content is wrong:\n%s", name, table)
		}
	}
	_, stdout, _ := runTool(t, ExportTool, "--metadata", p.meta, "--dev-id", "3", "--map", "dmsetup", "--size", "4m")
	if want := "0 3840 linear DATA 1280\n3840 512 linear DATA 0\n4352 2048 zero\n6400 1024 linear DATA 12800\n7424 256 zero\n7680 256 linear DATA 11520\n7936 256 zero\n"; stdout != want {
		t.Errorf("got\n%swant\n%s", stdout, want)
	}
}

// An export interrupted at any point resumes to the same bytes, unless its inputs changed.
func TestExportResume(t *testing.T) {
	p := newExportPool(t)
	const size = 6 << 20
	want := p.want(1, size, false)
	out := p.path("out")
	args := []string{"--dev-id", "1", "--size", fmt.Sprint(size), "-o", out}
	journal := func(position int64) {
		t.Helper()
		x := &Export{Metadata: p.meta, Data: p.data, DevID: new(deviceID), Size: new(byteSize), Output: out, Force: true}
		x.DevID.id, *x.Size = 1, size
		env := &cli.Env{Context: t.Context(), Stderr: io.Discard}
		in, err := x.open(env)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		v, err := x.volume(env, in, 0)
		if err != nil {
			t.Fatal(err)
		}
		job, err := x.job(v)
		if err != nil {
			t.Fatal(err)
		}
		if job.Position = position; job.Save(job.path) != nil {
			t.Fatal("the journal was not saved")
		}
	}
	for position := int64(0); position <= size; position += 5*exportBlock + 512 {
		partial := slices.Concat(want[:position], make([]byte, size-position))
		if position > exportBlock { // ranges marked done are not copied again
			partial[7] ^= 1
		}
		p.file("out", partial)
		journal(position)
		if _, stderr := p.run(1, args...); !strings.Contains(stderr, "an export was interrupted. Use --resume to continue it, or --force to start over") {
			t.Errorf("without --resume: %s", stderr)
		}
		if got := p.read(out); !bytes.Equal(got, partial) {
			t.Error("a refusal changed the output")
		}
		p.run(0, append(args, "--resume")...)
		got := p.read(out)
		if position > exportBlock {
			got[7] ^= 1
		}
		if !bytes.Equal(got, want) {
			t.Errorf("resumed at byte %d: the file is wrong", position)
		}
		if _, err := os.Stat(out + ".resume"); err == nil {
			t.Error("the journal is still there")
		}
	}
	if _, stderr := p.run(1, append(args, "--resume")...); !strings.Contains(stderr, "out exists but "+out+".resume does not: the export is complete") {
		t.Errorf("complete: %s", stderr)
	}
	journal(exportBlock)
	for want, other := range map[string][]string{
		`device "1", this one has device "2"`:            {"--dev-id", "2"},
		"had 6291456 bytes, this one has 6291968":        {"--size", "6291968"},
		`origin size "0", this one has origin size "38`:  {"--origin", p.origin},
		`changed since "none", this one has changed`:     {"--changed-since", "2"},
		`data offset "0", this one has data offset "512`: {"--data-offset", "1s"},
		"not the journal of an export":                   {"--journal", p.file("junk", []byte("junk"))},
	} {
		if _, stderr := p.run(1, slices.Concat(args, []string{"--resume"}, other)...); !strings.Contains(stderr, want) {
			t.Errorf("%q: %s", other, stderr)
		}
	}
	if err := os.Truncate(out, size-1); err != nil {
		t.Fatal(err)
	}
	if _, stderr := p.run(1, append(args, "--resume")...); !strings.Contains(stderr, "not the file that the interrupted export wrote") {
		t.Errorf("another file: %s", stderr)
	}
	p.run(0, append(args, "--force")...)
	if !bytes.Equal(p.read(out), want) {
		t.Error("started over: the file is wrong")
	}
}

// Losses are reported to the byte before anything is written. With --repair, the rest is exported.
func TestExportLost(t *testing.T) {
	p := newExportPool(t)
	const size = 6 << 20
	whole := p.want(1, size, false)
	healthy := p.read(p.meta)
	damagedLeaf := bytes.Clone(healthy)
	clear(damagedLeaf[int(p.leaves[1])*block.Size:][:block.Size])
	short := p.file("short", p.dataContent[:103*exportBlock+512])
	for name, tc := range map[string]struct {
		meta []byte
		data string
		lost [][2]int
		rest [][2]int // still lost with --repair
	}{
		// Two mappings are found again in an old leaf. They are guesses.
		"leaf": {
			damagedLeaf, p.data,
			[][2]int{{50 * exportBlock, 70 * exportBlock}},
			[][2]int{{50 * exportBlock, 52 * exportBlock}, {54 * exportBlock, 70 * exportBlock}},
		},
		"short data": {
			healthy, short,
			[][2]int{{53*exportBlock + 512, 58 * exportBlock}, {70 * exportBlock, 90 * exportBlock}},
			[][2]int{{53*exportBlock + 512, 58 * exportBlock}, {70 * exportBlock, 90 * exportBlock}},
		},
	} {
		p.file("meta", tc.meta)
		out := p.path("out " + name)
		args := []string{"--dev-id", "1", "--size", fmt.Sprint(size), "--data", tc.data}
		check := func(stderr string, lost [][2]int) {
			t.Helper()
			var got []string
			for line := range strings.Lines(stderr) {
				if strings.HasPrefix(line, "lost: bytes") {
					got = append(got, line)
				}
			}
			if len(got) != len(lost) {
				t.Fatalf("%s: %d ranges are lost, want %d:\n%s", name, len(got), len(lost), stderr)
			}
			for i, l := range lost {
				if !strings.HasPrefix(got[i], fmt.Sprintf("lost: bytes %d..%d: ", l[0], l[1]-1)) {
					t.Errorf("%s: %s, want bytes %v", name, got[i], l)
				}
			}
		}
		total := 0
		for _, l := range tc.lost {
			total += l[1] - l[0]
		}
		want := bytes.Clone(whole)
		for _, l := range tc.rest {
			clear(want[l[0]:l[1]])
		}
		for _, extra := range [][]string{{"-o", out}, {"--map", "dmsetup"}, {"--format", "json"}, {"--ranges", out + ".json"}} {
			stdout, stderr := p.run(1, append(args, extra...)...)
			check(stderr, tc.lost)
			json := slices.Contains(extra, "json")
			if stdout != "" && !json || json != strings.HasPrefix(stdout, `{"type":"error"`) || !strings.Contains(stderr, fmt.Sprintf("thin_export: %d bytes are lost; nothing was written", total)) {
				t.Errorf("%s: stdout %q, stderr %q", name, stdout, stderr)
			}
		}
		if files, _ := filepath.Glob(out + "*"); files != nil {
			t.Errorf("%s: there is %v", name, files)
		}
		stdout, stderr := p.run(1, append(args, "-o", out, "--repair", "--verify", "--format", "json")...)
		check(stderr, tc.rest)
		if !bytes.Equal(p.read(out), want) {
			t.Errorf("%s: what is left is wrong", name)
		}
		var lost [][2]int
		for _, r := range p.ranges([]byte(stdout)) {
			if r.Type == "lost" {
				lost = append(lost, [2]int{int(r.Begin), int(r.Begin + r.Length)})
			}
		}
		if !slices.Equal(lost, tc.rest) {
			t.Errorf("%s: lost as JSON: %v, want %v", name, lost, tc.rest)
		}
		p.run(0, append(args, "-o", out, "--repair", "--accept-loss", "--force")...)
		table, _ := p.run(1, append(args, "--map", "dmsetup", "--repair")...)
		if n := strings.Count(table, " error\n"); n != len(tc.rest) {
			t.Errorf("%s: the table has %d errors:\n%s", name, n, table)
		}
		p.run(0, "--dev-id", "2", "-o", p.path("other "+name), "--repair", "--size", "2m") // nothing is lost there
	}
	p.file("meta", damagedLeaf)
	p.run(1, "--root", strconv.Itoa(int(p.root(1))), "-o", p.path("root"), "--repair", "--size", fmt.Sprint(size))
	want := bytes.Clone(whole)
	clear(want[50*exportBlock : 70*exportBlock])
	if !bytes.Equal(p.read(p.path("root")), want) {
		t.Error("of a root: what is left is wrong")
	}
	if _, stderr := p.run(1, "--dev-id", "1", "--changed-since", "2", "--size", "6m", "-o", p.path("changed")); !strings.Contains(stderr, "metadata contains errors") {
		t.Errorf("changes of a damaged device: %s", stderr)
	}
	if _, err := os.Stat(p.path("changed")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("changes of a damaged device were written (%v)", err)
	}
}
