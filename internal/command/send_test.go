package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/streamfmt"
	"thinpool/test/shared"
)

// sums returns checksums of devices, as read by thin_export.
func sums(t *testing.T, meta, data string, sizes map[int]int) map[int]string {
	t.Helper()
	all := map[int]string{}
	for id, size := range sizes {
		code, content, stderr := runTool(t, ExportTool, "--metadata", meta, "--data", data, "--dev-id", fmt.Sprint(id), "--size", fmt.Sprint(size), "-o", "-")
		if code != 0 {
			t.Fatal(stderr)
		}
		sum := sha256.Sum256([]byte(content))
		all[id] = hex.EncodeToString(sum[:])
	}
	return all
}

// must runs a tool and fails the test unless it succeeds.
func must(t *testing.T, tool interface {
	run(args ...string) (int, string, string)
}, args ...string,
) string {
	t.Helper()
	code, stdout, stderr := tool.run(args...)
	if code != 0 {
		t.Fatalf("%q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

type sendTool struct{ t *testing.T }

func (s sendTool) run(args ...string) (int, string, string) { return runTool(s.t, SendTool, args...) }

type receiveTool struct{ t *testing.T }

func (r receiveTool) run(args ...string) (int, string, string) {
	return runTool(r.t, ReceiveTool, args...)
}

// However a pool is sent and received, it has the same devices and the same sharing.
func TestSendReceive(t *testing.T) {
	p := newExportPool(t)
	sizes := map[int]int{1: 6 << 20, 2: 6 << 20, 3: 6 << 20}
	want := sums(t, p.meta, p.data, sizes)
	_, rows, _ := runTool(t, LsTool, "-o", "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,CREATE_TIME,TRANSACTION", p.meta)
	send, receive := sendTool{t}, receiveTool{t}
	for name, args := range map[string][][]string{
		"plain":       {{"--compress", "none"}, {}},
		"compressed":  {{"--compress", "zstd=9"}, {}},
		"keep places": {{}, {"--keep-places"}},
	} {
		stream, meta, data := p.path(name), p.path(name+" meta"), p.path(name+" data")
		must(t, send, append(args[0], "--metadata", p.meta, "--data", p.data, "-o", stream)...)
		must(t, receive, append(args[1], "-i", stream, "--metadata", meta, "--data", data)...)
		if got := sums(t, meta, data, sizes); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the content differs", name)
		}
		if _, got, _ := runTool(t, LsTool, "-o", "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,CREATE_TIME,TRANSACTION", meta); got != rows || strings.Count(rows, "\n") != 4 {
			t.Errorf("%s: thin_ls prints\n%swant\n%s", name, got, rows)
		}
		if code, out, stderr := runTool(t, CheckTool, meta); code != 0 {
			t.Errorf("%s: thin_check: %s%s", name, out, stderr)
		}
		if left, _ := filepath.Glob(data + ".resume"); left != nil {
			t.Errorf("%s: %v is left", name, left)
		}
	}
	stdout := must(t, send, "--metadata", p.meta, "--data", p.data, "--dev-id", "2")
	one := p.file("one", []byte(stdout))
	must(t, receive, "-i", one, "--metadata", p.path("m1"), "--data", p.path("d1"))
	if got := sums(t, p.path("m1"), p.path("d1"), map[int]int{2: 6 << 20}); got[2] != want[2] {
		t.Error("a device alone has other content")
	}
	if _, rows, _ := runTool(t, LsTool, "--no-headers", "-o", "DEV", p.path("m1")); strings.TrimSpace(rows) != "2" {
		t.Errorf("the devices are %q", rows)
	}
}

// Once something was received, the rest of the stream is enough.
func TestReceiveContinuing(t *testing.T) {
	r := Receive{Metadata: "m"}
	if got, want := r.continuing(1<<28), "m is not usable yet: run the same command with --resume to continue, with all of the stream or from byte 268435456 on (thin_send --start-at 268435456)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// An interrupted receive can resume; a receive that cannot resume is refused.
func TestReceiveResume(t *testing.T) {
	p := newExportPool(t)
	send, receive := sendTool{t}, receiveTool{t}
	stream := must(t, send, "--compress", "none", "--metadata", p.meta, "--data", p.data)
	cut, whole := p.file("cut", []byte(stream[:len(stream)/2])), p.file("whole", []byte(stream))
	meta, data := p.path("m"), p.path("d")
	args := []string{"--metadata", meta, "--data", data}
	code, _, stderr := receive.run(append(args, "-i", cut)...)
	if code != 1 || !strings.Contains(stderr, "incomplete") || !strings.Contains(stderr, "with --resume to continue\n") {
		t.Fatalf("a cut stream: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := runTool(t, CheckTool, meta); code == 0 {
		t.Errorf("there is valid metadata: %s", stderr)
	}
	if code, _, stderr := receive.run(append(args, "-i", whole)...); code != 1 || !strings.Contains(stderr, "was interrupted. Use --resume") {
		t.Errorf("again without --resume: exit code %d, %s", code, stderr)
	}
	other := p.file("other", []byte(must(t, send, "--metadata", p.meta, "--data", p.data, "--dev-id", "1")))
	if code, _, stderr := receive.run(append(args, "--resume", "-i", other)...); code != 1 || !strings.Contains(stderr, "cannot resume") {
		t.Errorf("with another stream: exit code %d, %s", code, stderr)
	}
	must(t, receive, append(args, "--resume", "-i", whole)...)
	sizes := map[int]int{1: 6 << 20, 2: 6 << 20}
	if got, want := sums(t, meta, data, sizes), sums(t, p.meta, p.data, sizes); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error("the content differs")
	}
	if code, _, stderr := receive.run(append(args, "--resume", "-i", whole)...); code == 0 || !strings.Contains(stderr, "cannot resume") {
		t.Errorf("after the end: exit code %d, %s", code, stderr)
	}
}

// An increment applies to the pool it is based on, whose metadata stays unchanged.
func TestReceiveOnto(t *testing.T) {
	p := newSnapshotPool(t)
	send, receive := sendTool{t}, receiveTool{t}
	index, stream := p.path("index"), p.path("stream")
	must(t, send, "--metadata", p.meta, "--data", p.data, "-o", stream, "--index", index)
	must(t, receive, "-i", stream, "--metadata", p.path("m"), "--data", p.path("d"))
	before := p.read(p.path("m"))
	content := p.read(p.data)
	for _, b := range []int{60, 61} { // only device 1 has them, so they may be overwritten in place
		copy(content[b*exportBlock:], noise(uint64(b), exportBlock))
	}
	p.file("data", content)
	must(t, send, "--metadata", p.meta, "--data", p.data, "--since", index, "-o", p.path("increment"))
	if small, large := len(p.read(p.path("increment"))), len(p.read(stream)); small > 2*exportBlock+8192 || large < 20*exportBlock {
		t.Errorf("%d bytes for two blocks, %d for all", small, large)
	}
	must(t, receive, "-i", p.path("increment"), "--onto", p.path("m"), "--metadata", p.path("m2"), "--data", p.path("d"))
	if !bytes.Equal(before, p.read(p.path("m"))) {
		t.Error("the old metadata has changed")
	}
	sizes := map[int]int{1: 3 << 20, 2: 3 << 20}
	if got, want := sums(t, p.path("m2"), p.path("d"), sizes), sums(t, p.meta, p.data, sizes); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Error("the content differs")
	}
	for name, args := range map[string][]string{
		"no base":     {"-i", p.path("increment"), "--metadata", p.path("m3"), "--data", p.path("d3")},
		"a whole one": {"-i", stream, "--onto", p.path("m"), "--metadata", p.path("m3"), "--data", p.path("d")},
		"an index":    {"-i", index, "--metadata", p.path("m3"), "--data", p.path("d3")},
		"no stream":   {"-i", p.meta, "--metadata", p.path("m3"), "--data", p.path("d3")},
	} {
		code, _, stderr := receive.run(args...)
		if code != 1 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %s", name, code, stderr)
		}
		for _, path := range []string{"m3", "d3"} {
			if _, err := os.Stat(p.path(path)); err == nil {
				t.Errorf("%s: %s is there", name, path)
			}
		}
	}
	if code, _, stderr := send.run("--metadata", p.meta, "--data", p.data, "--since", stream, "-o", p.path("x")); code != 1 || !strings.Contains(stderr, "not the index") {
		t.Errorf("a stream as an index: exit code %d, %s", code, stderr)
	}
}

// For disks written by the kernel, every volume reads the same after send and receive as it did
// from the kernel. The LVM text is the one on the disk.
func TestSendDisks(t *testing.T) {
	for name, disks := range map[string][]string{"one-pv": {"one-pv"}, "two-pvs": {"two-pvs.1", "two-pvs.2"}} {
		dir := t.TempDir()
		var images []string
		for _, d := range disks {
			path := filepath.Join(dir, d)
			if out, err := exec.CommandContext(t.Context(), "zstd", "-q", "-d", "--long=27", shared.Path(t, "kernel", "lvm-images", d+".img.zst"), "-o", path).CombinedOutput(); err != nil {
				t.Skipf("zstd: %v: %s", err, out)
			}
			images = append(images, path)
		}
		args := []string{images[0], "-o", filepath.Join(dir, "stream")}
		for _, more := range images[1:] {
			args = append(args, "--pv", more)
		}
		must(t, sendTool{t}, args...)
		meta, data, text := filepath.Join(dir, "m"), filepath.Join(dir, "d"), filepath.Join(dir, "text")
		if code, _, stderr := (sendTool{t}).run(append(args, "-m")...); code != 1 || !strings.Contains(stderr, "the pool has no metadata snapshot; this is a file and not in use by a pool") {
			t.Errorf("%s, without a snapshot: exit code %d, %s", name, code, stderr)
		}
		advice := must(t, receiveTool{t}, "-i", filepath.Join(dir, "stream"), "--metadata", meta, "--data", data, "--lvm-text", text)
		truth, err := os.ReadFile(shared.Path(t, "kernel", "lvm-images", name+".sums"))
		if err != nil {
			t.Fatal(err)
		}
		want, sizes := map[int]string{}, map[int]int{}
		for line := range strings.Lines(advice) {
			var size, id int
			var lv string
			if n, _ := fmt.Sscanf(line, "lvcreate -V %db -n %s --thinpool VG/POOL # device %d", &size, &lv, &id); n != 3 {
				continue
			}
			for known := range strings.Lines(string(truth)) {
				if f := strings.Fields(known); strings.HasSuffix(f[2], "/"+lv) && f[0] == fmt.Sprint(size) {
					want[id], sizes[id] = f[1], size
				}
			}
		}
		if got := sums(t, meta, data, sizes); len(got) < 3 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if content, err := os.ReadFile(text); err != nil || !strings.Contains(string(content), "physical_volumes {") || !bytes.Contains(readHead(t, images[0]), content) {
			t.Errorf("%s: LVM's text is %.100q (%v)", name, content, err)
		}
	}
}

// readHead returns the start of a disk, where LVM keeps its text.
func readHead(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 2<<20)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	return head
}

// For a pool in use, the metadata snapshot is sent.
func TestSendMetadataSnap(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	fixtures.Write(t, "metadata-snap", path("held"))
	fixtures.Write(t, "layers", path("plain"))
	if err := os.WriteFile(path("data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path("data"), 8<<30); err != nil {
		t.Fatal(err)
	}
	must(t, sendTool{t}, "-m", "--metadata", path("held"), "--data", path("data"), "-o", path("stream"))
	must(t, receiveTool{t}, "-i", path("stream"), "--metadata", path("m"), "--data", path("d"))
	_, want, _ := runTool(t, LsTool, "-m", "--no-headers", "-o", "DEV,MAPPED_BLOCKS,SNAP_TIME", path("held"))
	if _, got, _ := runTool(t, LsTool, "--no-headers", "-o", "DEV,MAPPED_BLOCKS,SNAP_TIME", path("m")); got != want || got == "" {
		t.Errorf("the devices are\n%swant\n%s", got, want)
	}
	if code, _, stderr := (sendTool{t}).run("-m", "--metadata", path("plain"), "--data", path("data"), "-o", path("x")); code != 1 || !strings.Contains(stderr, "the pool has no metadata snapshot") {
		t.Errorf("without a snapshot: exit code %d, %s", code, stderr)
	}
}

// vast is a stream that says that its pool has so many data blocks, the first ones mapped and zero.
func vast(t *testing.T, blocks, mapped uint64) []byte {
	t.Helper()
	var stream bytes.Buffer
	w, err := streamfmt.NewWriter(&stream, 0)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(w.JSON(streamfmt.Head, streamfmt.Header{Kind: "pool", UUID: strings.Repeat("0", 32), Version: 2, DataBlockSize: 128, DataBlocks: blocks, Used: mapped, Sent: mapped}))
	layout := w.Section(streamfmt.Layout)
	check(streamfmt.NewRangeWriter(layout).Write(streamfmt.Range{Len: mapped}))
	check(layout.Close())
	description := w.Section(streamfmt.Description)
	v := streamfmt.NewDescriptionWriter(description)
	check(v.BeginDevice(1, metadata.Details{MappedBlocks: mapped}))
	check(v.Runs([]metadata.Run{{Len: mapped}}))
	check(v.EndDevice())
	check(v.End())
	check(description.Close())
	check(w.Write(&streamfmt.Frame{Type: streamfmt.Zero, Length: mapped << 16}))
	_, err = w.End()
	check(err)
	return stream.Bytes()
}

// A few bytes that stand for vast metadata make no vast file.
func TestReceiveVast(t *testing.T) {
	p := newExportPool(t)
	for name, c := range map[string]struct {
		blocks, mapped uint64
		want           string // in the message; empty: it is received
	}{
		"a large pool":           {1 << 27, 1000, ""},
		"a vast pool":            {60e9, 1, "m: the new metadata takes 15123456789 bytes, for a pool of 60000000000 data blocks of 65536 bytes. If that is right, create the file first"},
		"vast mappings":          {1 << 30, 70e6, "m: the new metadata takes 15123456789 bytes, for a pool of 1073741824 data blocks of 65536 bytes"},
		"beyond all metadata":    {metadata.MaxDataBlocks / 15, 1, "more than a pool can have"},
		"mappings beyond it":     {1<<31 - 1, 1<<31 - 1, "too large for any metadata device"},
		"blocks beyond a number": {1<<64 - 1, 1, "more than a pool can have"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			stream := p.file(name, vast(t, c.blocks, c.mapped))
			code, _, stderr := runTool(t, ReceiveTool, "-i", stream, "--metadata", "m", "--data", "d")
			stderr = regexp.MustCompile(`takes \d{10,11} bytes`).ReplaceAllString(stderr, "takes 15123456789 bytes")
			info, err := os.Stat("m")
			switch {
			case c.want == "":
				if code != 0 || err != nil || info.Size() > 2<<30 {
					t.Errorf("exit code %d, %s%v, %v", code, stderr, info, err)
				}
				return
			case code != 1 || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1:
				t.Errorf("exit code %d, %s, want %s", code, stderr, c.want)
			}
			if left, _ := filepath.Glob("*"); left != nil {
				t.Errorf("%v is there", left)
			}
		})
	}
	// The size of what is there counts, and nothing is created beside it.
	t.Chdir(t.TempDir())
	if err := os.WriteFile("m", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runTool(t, ReceiveTool, "-i", p.file("in a small file", vast(t, 60e9, 1)), "--metadata", "m", "--data", "d")
	if _, err := os.Stat("d"); code != 1 || !strings.Contains(stderr, "thin_receive: m: the metadata needs ") || err == nil {
		t.Errorf("exit code %d, %s; data: %v", code, stderr, err)
	}
}
