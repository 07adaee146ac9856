package e2e

import (
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
)

// ofRuntime matches files that a tool opens without being told: the runtime reads the size of huge
// pages and the limits of its control group, log lines use the local time, and the qcow2 decoder
// gets the null device as backing file.
var ofRuntime = regexp.MustCompile(`^(/sys/kernel/mm/transparent_hugepage/.*|/sys/fs/cgroup/.*|/proc/(self|\d+)/(mountinfo|cgroup)|/etc/localtime|/usr/share/zoneinfo/.*|/dev/null)$`)

// ofNewFile matches names of a file that is not in place yet.
var ofNewFile = regexp.MustCompile(`^/proc/(self|\d+)/fd/\d+$|/#\d+$|/\.out\.[A-Z2-7]+\.tmp$`)

// ofDevices matches where the kernel says who uses a block device.
var ofDevices = regexp.MustCompile(`^/sys/dev/block/`)

var (
	straceCall   = regexp.MustCompile(`^\d+ +(\w+)\((?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"`)
	straceResult = regexp.MustCompile(`open(?:at|at2)?\b.*\) = \d+<([^>]+)>`)
)

// touched returns the paths a command opens, including those the kernel actually opened, and all
// paths that it accesses, renames or removes.
func touched(t *testing.T, dir string, command []string) (opened, all []string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "strace")
	cmd := exec.CommandContext(t.Context(), "strace", append([]string{"-f", "-y", "-qq", "-e", "trace=file", "-e", "signal=none", "-s", "4096", "-o", log}, command...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(log)
	if readErr != nil || !strings.Contains(string(text), "execve(") {
		t.Skipf("strace does not work here: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(text)) {
		if m := straceCall.FindStringSubmatch(line); m != nil && m[1] != "execve" && m[3] != "" {
			path := m[3]
			if !filepath.IsAbs(path) {
				path = filepath.Join(cmp.Or(m[2], dir), path)
			}
			if all = append(all, filepath.Clean(path)); strings.HasPrefix(m[1], "open") || m[1] == "creat" {
				opened = append(opened, filepath.Clean(path))
			}
		}
		if m := straceResult.FindStringSubmatch(line); m != nil {
			opened, all = append(opened, m[1]), append(all, m[1])
		}
	}
	slices.Sort(opened)
	slices.Sort(all)
	return slices.Compact(opened), slices.Compact(all)
}

// basedOn writes a qcow2 image of 192 MiB with a raw backing file.
func basedOn(t *testing.T, path, backing string) {
	t.Helper()
	const cluster = 64 << 10
	be := binary.BigEndian
	img := make([]byte, 2*cluster)
	copy(img, "QFI\xfb")
	be.PutUint32(img[4:], 3)
	be.PutUint64(img[8:], 128)
	be.PutUint32(img[16:], uint32(len(backing)))
	be.PutUint32(img[20:], 16)
	be.PutUint64(img[24:], 192<<20)
	be.PutUint32(img[36:], 1)
	be.PutUint64(img[40:], cluster)
	be.PutUint32(img[100:], 104)
	copy(img[104:], "\xe2\x79\x2a\xca\x00\x00\x00\x03raw")
	copy(img[128:], backing)
	if err := os.WriteFile(path, img, 0o600); err != nil {
		t.Fatal(err)
	}
}

// No tool opens a file that the command line does not name, except the backing file beside an
// image.
func TestNamedFilesOnly(t *testing.T) {
	t.Parallel()
	many(t)
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip(err)
	}
	dir := must(filepath.EvalSymlinks(t.TempDir()))
	for _, name := range []string{"layers", "metadata-snap"} {
		fixtures.Write(t, name, filepath.Join(dir, name))
	}
	disks, _ := fixtures.Disks(t, "one-pv")
	if err := os.Rename(disks[0], filepath.Join(dir, "disk")); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(must(filepath.EvalSymlinks(t.TempDir())), "secret")
	if err := os.WriteFile(elsewhere, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	basedOn(t, filepath.Join(dir, "over"), "disk")
	basedOn(t, filepath.Join(dir, "absolute"), elsewhere)
	basedOn(t, filepath.Join(dir, "linked"), "link")
	ours(t, "thin_metadata_pack", "-i", filepath.Join(dir, "layers"), "-o", filepath.Join(dir, "pack"))
	ours(t, "thin_dump", "-o", filepath.Join(dir, "xml"), filepath.Join(dir, "layers"))
	backup := ours(t, "thin_volumes", "--text", filepath.Join(dir, "disk"))
	if err := os.WriteFile(filepath.Join(dir, "backup"), []byte(backup), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := errors.Join(os.WriteFile(data, nil, 0o600), os.Truncate(data, 4<<30)); err != nil {
		t.Fatal(err)
	}

	ours(t, "thin_send", "--metadata", filepath.Join(dir, "layers"), "--data", data, "-o", filepath.Join(dir, "stream"))

	// How each tool reads an input. Outputs are named out.
	reading := map[string][]string{
		"thin_check": {}, "thin_dump": {"-o", "out"}, "thin_ls": {}, "thin_scan": {}, "thin_stat": {}, "thin_volumes": {"-v", "--segments"},
		"thin_delta": {"--thin1", "1", "--thin2", "2"}, "thin_rmap": {"--region", "0..9"}, "thin_files": {"--range", "0..9"}, "thin_metadata_size": {"--from"},
		"thin_metadata_pack": {"-o", "out", "-i"}, "thin_report": {"-o", "out"}, "thin_repair": {"--dry-run", "--report", "out", "-v", "-i"},
		"thin_export": {"--force", "-o", "out", "--size", "1m", "--dev-id", "1", "--data", "data", "--metadata"},
		"thin_send":   {"-o", "out", "--data", "data", "--metadata"},
		"thin_shrink": {"--binary", "--no-copy", "--dry-run", "--nr-blocks", "999999", "-i"}, "thin_trim": {"--dry-run", "--metadata-dev"},
	}
	inputs := []string{"layers", "metadata-snap", "pack", "xml", "disk", "over", "absolute", "linked", "none"}
	extra := [][]string{
		{"thin_check", "-m", "metadata-snap"},
		{"thin_check", "--lvm-metadata", "backup", "disk"},
		{"thin_volumes", "--history", "--format", "json", "over"},
		{"thin_volumes", "--lvm-metadata", "backup", "--pv", "pv0=over", "disk"},
		{"thin_check", "--pv", "over", "disk"},
		{"thin_check", "--backing", elsewhere, "absolute"},
		{"thin_export", "--lv", "vg1/trimmed", "--force", "-o", "out", "over"},
		{"thin_restore", "-i", "xml", "-o", "layers"},
		{"thin_metadata_unpack", "-i", "pack", "-o", "out"},
		{"thin_shrink", "-i", "xml", "-o", "out", "--nr-blocks", "999999", "--no-copy"},
		{"thin_generate", "--format", "xml", "-o", "out"},
		{"thin_receive", "-i", "stream", "--metadata", "received", "--data", "out"},
		{"thin_metadata_size", "-b64k", "-s1g", "-m1"},
		{"thin_migrate", "--source-dev", "disk", "--dest-file", "out"},
	}
	used := map[string]bool{"thin_tools": true}
	for tool, args := range reading {
		for _, input := range inputs {
			extra = append(extra, append(append([]string{tool}, args...), input))
		}
	}
	for _, words := range extra {
		used[words[0]] = true
		named := []string{}
		for _, word := range words[1:] {
			_, second, _ := strings.Cut(word, "=")
			for _, name := range []string{word, second} {
				if !filepath.IsAbs(name) {
					name = filepath.Join(dir, name)
				}
				named = append(named, name)
			}
		}
		if slices.Contains(words, "over") {
			named = append(named, filepath.Join(dir, "disk"))
		}
		if slices.Contains(words, "linked") {
			named = append(named, filepath.Join(dir, "link")) // it is checked, and leads elsewhere
		}
		opened, all := touched(t, dir, append([]string{filepath.Join(tools, words[0])}, words[1:]...))
		if input := filepath.Join(dir, words[len(words)-1]); !slices.Contains(opened, input) && slices.Contains(inputs, filepath.Base(input)) && filepath.Base(input) != "none" {
			t.Errorf("%q is not seen to open %s, but %q", words, input, opened)
		}
		for _, path := range all {
			folder := slices.ContainsFunc(named, func(name string) bool { return path == "/" || strings.HasPrefix(name, path+"/") })
			output := slices.Contains(words, "out") && (ofNewFile.MatchString(path) || path == filepath.Join(dir, "out.resume") || path == filepath.Join(dir, "out.state"))
			switch {
			case slices.Contains(named, path), folder, output, ofRuntime.MatchString(path), ofDevices.MatchString(path):
			case strings.HasPrefix(elsewhere, path) && !slices.Contains(opened, path):
				// The tool must find out where the file is.
			default:
				t.Errorf("%q touches %s", words, path)
			}
		}
	}
	entries := must(os.ReadDir(tools))
	for _, e := range entries {
		if !used[e.Name()] {
			t.Errorf("%s is not tested", e.Name())
		}
	}
}
