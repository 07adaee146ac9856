package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/volume"
)

// mapped reads a mapfile and returns the status of each block.
func (p *exportPool) mapped(path string, size int) string {
	p.t.Helper()
	var blocks []byte
	lines := strings.Split(strings.TrimSpace(string(p.read(path))), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return l[0] == '#' })
	for _, line := range lines[1:] {
		var begin, length int
		var status byte
		if _, err := fmt.Sscanf(line, "0x%X  0x%X  %c", &begin, &length, &status); err != nil || begin != len(blocks)*exportBlock || length%exportBlock != 0 {
			p.t.Fatalf("%q after block %d (%v)", line, len(blocks), err)
		}
		blocks = append(blocks, bytes.Repeat([]byte{status}, length/exportBlock)...)
	}
	if len(blocks)*exportBlock != size {
		p.t.Errorf("the mapfile ends at block %d", len(blocks))
	}
	return string(blocks)
}

// The mapfile of a damaged device says what is lost. ddrescue then takes exactly that from a
// backup.
func TestExportMapfile(t *testing.T) {
	p := newExportPool(t)
	const size = 100 * exportBlock
	whole := p.want(1, size, false)
	args := []string{"--dev-id", "1", "--size", fmt.Sprint(size), "-o", p.path("out"), "--mapfile", p.path("map")}
	p.run(0, args...)
	if got := p.mapped(p.path("map"), size); strings.Trim(got, "+") != "" {
		t.Errorf("of a sound device: %s", got)
	}
	damaged := p.read(p.meta)
	clear(damaged[int(p.leaves[1])*block.Size:][:block.Size])
	p.file("meta", damaged)
	p.run(1, append(args, "--force")...)
	p.run(1, append(args, "--force", "--repair")...)
	// Two mappings are found in an old leaf. Reference counts do not confirm them.
	want := strings.Repeat("+", 50) + "--**" + strings.Repeat("-", 16) + strings.Repeat("+", 30)
	if got := p.mapped(p.path("map"), size); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := exec.LookPath("ddrescue"); err != nil {
		t.Skip("GNU ddrescue is not installed")
	}
	backup := noise(77, size)
	if out, err := exec.CommandContext(t.Context(), "ddrescue", "-r1", "--no-trim", p.file("backup", backup), p.path("out"), p.path("map")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, l := range [][2]int{{50, 52}, {54, 70}} {
		copy(whole[l[0]*exportBlock:l[1]*exportBlock], backup[l[0]*exportBlock:])
	}
	if !bytes.Equal(p.read(p.path("out")), whole) {
		t.Error("the filled copy is wrong")
	}
}

// Guessed ranges are not marked as data, and ddrescue leaves them alone on request.
func TestExportGuessed(t *testing.T) {
	p := newExportPool(t)
	f := fixtures.NewForge(t, 128, 300)
	lost := f.Leaf(metadata.Run{Thin: 0, Data: 200, Len: 10})
	f.Device(1, f.Inner(lost, f.Leaf(metadata.Run{Thin: 20, Data: 50, Len: 10})))
	f.LeakData(0)
	image := f.Finish()
	fixtures.Edit(t, image, lost, func(b *block.Data) { clear(b[32+8*252+8*9:]) }) // its last value
	var b block.Data
	if err := block.Read(image, lost, &b); err != nil {
		t.Fatal(err)
	}
	block.Invalidate(&b)
	if err := block.Write(image, lost, &b); err != nil {
		t.Fatal(err)
	}
	p.file("meta", image.Contents())
	const size = 32 * exportBlock
	args := []string{"--dev-id", "1", "--size", fmt.Sprint(size), "--repair"}
	out, _ := p.run(1, append(args, "-o", p.path("out"), "--mapfile", p.path("map"), "--format", "json")...)
	want := strings.Repeat("*", 9) + strings.Repeat("-", 11) + strings.Repeat("+", 12)
	if got := p.mapped(p.path("map"), size); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	ranges := p.ranges([]byte(out))
	if len(ranges) != 4 || ranges[0] != (exportedRange{"guessed", 0, 9 * exportBlock}) || ranges[1].Type != "lost" || ranges[2].Type != "data" {
		t.Errorf("ranges %v", ranges)
	}
	if !bytes.Equal(p.read(p.path("out"))[:9*exportBlock], p.dataContent[200*exportBlock:209*exportBlock]) {
		t.Error("what is guessed was not copied")
	}
	if _, err := exec.LookPath("ddrescue"); err != nil {
		t.Skip("GNU ddrescue is not installed")
	}
	content, backup := p.read(p.path("out")), noise(78, size)
	if out, err := exec.CommandContext(t.Context(), "ddrescue", "-r1", "--no-trim", p.file("backup", backup), p.path("out"), p.path("map")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	copy(content[9*exportBlock:20*exportBlock], backup[9*exportBlock:])
	if !bytes.Equal(p.read(p.path("out")), content) {
		t.Error("the filled copy is wrong")
	}
}

// extentList is the content of a volume that is never read.
type extentList []volume.Extent

func (l extentList) Size() int64                      { return l[len(l)-1].End() }
func (l extentList) Read([]byte, volume.Extent) error { return io.EOF }
func (l extentList) Advise(volume.Extent)             {}
func (l extentList) Extents(context.Context) iter.Seq2[volume.Extent, error] {
	return func(yield func(volume.Extent, error) bool) {
		for _, e := range l {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Unreadable data counts as lost at any position within mapped extents.
func TestExportMapfileUnreadable(t *testing.T) {
	v := &exportVolume{content: extentList{
		{Kind: volume.Mapped, Begin: 0, Len: 10, Data: 500},
		{Kind: volume.Origin, Begin: 10, Len: 10},
		{Kind: volume.Hole, Begin: 20, Len: 5},
		{Kind: volume.Mapped, Begin: 25, Len: 5, Data: 700},
	}}
	bad := []volume.Extent{
		{Kind: volume.Lost, Begin: 0, Len: 2},
		{Kind: volume.Lost, Begin: 4, Len: 1},
		{Kind: volume.Lost, Begin: 9, Len: 3}, // in two extents
		{Kind: volume.Lost, Begin: 25, Len: 5},
	}
	var got []byte
	err := v.eachReadable(&cli.Env{Context: t.Context()}, bad, func(e volume.Extent) error {
		if e.Begin != int64(len(got)) || e.Len < 1 || e.Kind == volume.Mapped && e.Data != 500+e.Begin && e.Data != 700+e.Begin-25 {
			t.Errorf("%v after byte %d", e, len(got))
		}
		got = append(got, bytes.Repeat([]byte{"hmol"[e.Kind]}, int(e.Len))...)
		return nil
	})
	if want := "llmmlmmmmllloooooooohhhhhlllll"; err != nil || string(got) != want {
		t.Errorf("got  %s (%v)\nwant %s", got, err, want)
	}
}

// The journal does not record unreadable ranges, so an interrupted export resumes only without a
// mapfile.
func TestExportMapfileResume(t *testing.T) {
	p := newExportPool(t)
	args := []string{"--dev-id", "1", "--size", "6m", "-o", p.path("out"), "--repair"}
	p.run(0, args...)
	x := &Export{Metadata: p.meta, Data: p.data, DevID: new(deviceID), Size: new(byteSize), Output: p.path("out"), Force: true, Repair: true}
	x.DevID.id, *x.Size = 1, 6<<20
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
	for _, lost := range []int64{0, 4096} {
		job.Position, job.Lost = 1<<20, lost
		if err := job.Save(job.path); err != nil {
			t.Fatal(err)
		}
		code := 0
		if lost > 0 {
			code = 1
		}
		_, stderr := p.run(code, append(args, "--resume", "--mapfile", p.path("map"))...)
		if refused := strings.Contains(stderr, "4096 bytes could not be read before, and it is not known which"); refused != (lost > 0) {
			t.Errorf("%d bytes lost: %s", lost, stderr)
		}
		if _, err := os.Stat(p.path("map")); err != nil {
			t.Error(err)
		}
	}
}
