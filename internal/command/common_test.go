package command

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/cli"
)

// metadataArgs returns, for each tool that reads metadata, arguments to read it from path. out is a
// file the tool may write.
func metadataArgs(path, out string) map[string][]string {
	return map[string][]string{
		"thin_check":         {path},
		"thin_delta":         {"--thin1", "1", "--thin2", "2", path},
		"thin_dump":          {path},
		"thin_explore":       {"--dump", path},
		"thin_export":        {"--dev-id", "1", "--size", "1m", "--metadata", path, "--format", "json"},
		"thin_ls":            {path},
		"thin_metadata_pack": {"-i", path, "-o", out + ".pack"},
		"thin_metadata_size": {"--from", path},
		"thin_repair":        {"-i", path, "-o", out},
		"thin_report":        {path},
		"thin_rmap":          {"--region", "0..1", path},
		"thin_scan":          {path},
		"thin_send":          {"--metadata", path, "--data", out},
		"thin_shrink":        {"--binary", "--nr-blocks", "1", "--no-copy", "-i", path, "-o", out},
		"thin_stat":          {path},
		"thin_trim":          {"--dry-run", "--metadata-dev", path},
		"thin_volumes":       {path},
	}
}

// without lists the tools that read no metadata.
var without = []string{"thin_files", "thin_generate", "thin_metadata_unpack", "thin_migrate", "thin_receive", "thin_restore"}

func runTool(t *testing.T, tool cli.Tool, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(context.Background(), tool, args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// All tools report the same problem in the same words.
func TestCommonCases(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out := write("out", make([]byte, 1<<20))
	xml := `<superblock uuid="" time="0" transaction="0" version="2" data_block_size="128" nr_data_blocks="10">` + "\n</superblock>\n"
	const noLabel = "no LVM label in " // thin_volumes looks for disks
	cases := []struct {
		name, path string
		want       []string // in stderr, one of them
		code       int
	}{
		{"missing", filepath.Join(dir, "missing"), []string{"no such file"}, 3},
		{"directory", dir, []string{"Not a block device or regular file", "is a directory"}, 3},
		{"empty", write("empty", nil), []string{"too small", noLabel}, 1},
		{"tiny", write("tiny", []byte("tiny")), []string{"too small", noLabel}, 1},
		{"noise", write("noise", bytes.Repeat([]byte("noise"), 20000)), []string{"checksum", "superblock", noLabel}, 1},
		{"XML", write("dump.xml", []byte(xml+strings.Repeat("\n", 1<<16))), []string{"this is a dump as XML", noLabel}, 1},
	}
	for _, tool := range slices.Concat(Tools(), Apart()) {
		t.Run(tool.Name, func(t *testing.T) {
			if _, reads := metadataArgs("", "")[tool.Name]; !reads && !slices.Contains(without, tool.Name) {
				t.Error("is in no list of this test")
			}
			for _, c := range cases {
				args := metadataArgs(c.path, out)[tool.Name]
				if args == nil || accepts(tool.Name, c.name) {
					continue
				}
				code, _, stderr := runTool(t, tool, args...)
				if code != c.code || !containsOne(stderr, c.want) || !strings.HasPrefix(stderr, tool.Name+": ") && !strings.HasPrefix(stderr, "fatal: ") {
					t.Errorf("%s: exit code %d, want %d; stderr %q, want one of %q", c.name, code, c.code, stderr, c.want)
				}
				if code, _, stderr := runTool(t, tool, append([]string{"-q"}, args...)...); code != c.code || stderr != "" {
					t.Errorf("%s with -q: exit code %d, want %d; stderr %q", c.name, code, c.code, stderr)
				}
			}
			if code, stdout, stderr := runTool(t, tool, "--help"); code != 0 || stderr != "" || !strings.HasPrefix(stdout, "Usage: "+tool.Name+" ") {
				t.Errorf("--help: exit code %d, stdout %.60q, stderr %q", code, stdout, stderr)
			}
			if code, stdout, stderr := runTool(t, tool, "-V"); code != 0 || stderr != "" || stdout != cli.Version+"\n" {
				t.Errorf("-V: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			code, stdout, stderr := runTool(t, tool, "--no-such-option")
			if code != 2 || stdout != "" || !strings.Contains(stderr, "no-such-option") || !strings.Contains(stderr, "Try '"+tool.Name+" --help'") {
				t.Errorf("unknown option: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			if code, _, stderr := runTool(t, tool, "a", "b", "c", "d"); code != 2 && tool.Name != "thin_volumes" {
				t.Errorf("too many arguments: exit code %d, stderr %q", code, stderr)
			}
		})
	}
	if content, err := os.ReadFile(out); err != nil || !bytes.Equal(content, make([]byte, 1<<20)) {
		t.Errorf("the output changed (%v)", err)
	}
}

// Every tool that reads metadata can read a metadata snapshot, and says what to do if there is none. Tools
// that need the whole pool cannot. thin_send also needs the data and has its own test.
func TestMetadataSnap(t *testing.T) {
	dir := t.TempDir()
	held, plain, out := filepath.Join(dir, "held"), filepath.Join(dir, "plain"), filepath.Join(dir, "out")
	fixtures.Write(t, "metadata-snap", held)
	fixtures.Write(t, "layers", plain)
	before, err := os.ReadFile(held)
	if err != nil {
		t.Fatal(err)
	}
	wholePool := []string{"thin_send", "thin_repair", "thin_shrink", "thin_trim", "thin_volumes"}
	for _, tool := range slices.Concat(Tools(), Apart()) {
		if metadataArgs("", "")[tool.Name] == nil || slices.Contains(wholePool, tool.Name) {
			continue
		}
		option := []string{"--metadata-snap"}
		if tool.Name == "thin_stat" { // reference counts cover the whole pool
			option = append(option, "--op=devices")
		}
		if code, _, stderr := runTool(t, tool, append(option, metadataArgs(held, out)[tool.Name]...)...); code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d, stderr %q", tool.Name, code, stderr)
		}
		code, _, stderr := runTool(t, tool, append(option, metadataArgs(plain, out)[tool.Name]...)...)
		if code != 1 || !strings.Contains(stderr, "the pool has no metadata snapshot") || !strings.Contains(stderr, "read it without -m") {
			t.Errorf("%s, without a snapshot: exit code %d, stderr %q", tool.Name, code, stderr)
		}
		if tool.Name == "thin_check" {
			continue // its option takes no block number
		}
		option[0] += "=999"
		if code, _, stderr := runTool(t, tool, append(option, metadataArgs(held, out)[tool.Name]...)...); code != 1 || !strings.Contains(stderr, "the metadata snapshot is in block 143, not 999") {
			t.Errorf("%s, another block: exit code %d, stderr %q", tool.Name, code, stderr)
		}
	}
	if after, err := os.ReadFile(held); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image has changed (%v)", err)
	}
}

// accepts reports whether a tool takes input that others refuse: thin_scan and thin_explore read
// anything, however damaged, and thin_metadata_size reads dumps.
func accepts(tool, input string) bool {
	return (tool == "thin_scan" || tool == "thin_explore") && (input == "noise" || input == "XML") || tool == "thin_metadata_size" && input != "missing"
}

func containsOne(s string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}

// Overlay returns an empty qcow2 image of size bytes, at most 512 MiB, on top of a backing file.
// format is the format of the backing file and may be empty.
func Overlay(backing, format string, size uint64) []byte {
	const cluster, formatName = 64 << 10, 0xe2792aca
	be := binary.BigEndian
	header := make([]byte, 104)
	copy(header, "QFI\xfb")
	be.PutUint32(header[4:], 3)
	be.PutUint32(header[16:], uint32(len(backing)))
	be.PutUint32(header[20:], 16)
	be.PutUint64(header[24:], size)
	be.PutUint32(header[36:], 1)
	be.PutUint64(header[40:], cluster)
	be.PutUint32(header[100:], uint32(len(header)))
	if format != "" {
		header = be.AppendUint32(header, formatName)
		header = be.AppendUint32(header, uint32(len(format)))
		header = append(append(header, format...), make([]byte, -len(format)&7)...)
	}
	header = append(header, make([]byte, 8)...)
	be.PutUint64(header[8:], uint64(len(header)))
	return append(append(header, backing...), make([]byte, 2*cluster-len(header)-len(backing))...)
}
