//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// lvm2 (lib/activate/dev_manager.c, tools/lvconvert.c, lib/metadata/thin_manip.c) uses exit codes,
// the first line of thin_dump, and versions.
func TestClient_lvm2(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"thin_check", "thin_dump", "thin_repair", "thin_restore"} {
		var major, minor, patch uint
		out := asked(t, tool, "-V")
		if n, err := fmt.Sscanf(out, "%d.%d.%d", &major, &minor, &patch); n != 3 || out != fmt.Sprintf("%d.%d.%d\n", major, minor, patch) {
			t.Errorf("%s -V: %q (%v)", tool, out, err)
		}
		for _, old := range []string{"0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7.0"} {
			if strings.HasPrefix(out, old) {
				t.Errorf("%s -V: %q begins as a version that lacks options", tool, out)
			}
		}
	}
	t.Run("check", lvm2Checks)
	t.Run("repair", lvm2Repairs)
	t.Run("restore", lvm2Restores)
}

// optionsOfCheck are the options lvm2 uses, and common configurations.
var optionsOfCheck = [][]string{
	{"-q"},
	{"-q", "--clear-needs-check-flag"},
	{"-q", "--clear-needs-check-flag", "--skip-mappings"},
	{"-q", "--clear-needs-check-flag", "--ignore-non-fatal-errors"},
	{"-q", "--clear-needs-check-flag", "--skip-mappings", "--ignore-non-fatal-errors"},
	{"-q", "--skip-mappings"},
	{"-q", "--ignore-non-fatal-errors"},
}

func lvm2Checks(t *testing.T) {
	for _, options := range optionsOfCheck {
		flagged := fixture(t, "needs-check")
		if out := asked(t, "thin_check", append(options, flagged)...); out != "" {
			t.Errorf("%q prints %q", options, out)
		}
		cleared := !strings.Contains(ours(t, "thin_dump", flagged), `flags="1"`)
		if want := len(options) > 1 && options[1] == "--clear-needs-check-flag"; cleared != want {
			t.Errorf("%q: the flag is cleared: %v", options, cleared)
		}
		damaged := fixture(t, "layers")
		damage(t, damaged)
		before := must(os.ReadFile(damaged))
		if r := run(t, filepath.Join(tools, "thin_check"), append(options, damaged)...); r.code == 0 || r.out+r.stderr != "" {
			t.Errorf("damaged, %q: exit code %d, prints %q", options, r.code, r.out+r.stderr)
		}
		if !bytes.Equal(before, must(os.ReadFile(damaged))) {
			t.Errorf("%q changes damaged metadata", options)
		}
	}
	// A power cut leaves data blocks without an owner. The pool must still activate.
	asked(t, "thin_check", "-q", fixture(t, "powercut"))
}

func lvm2Repairs(t *testing.T) {
	for _, options := range [][]string{{""}, nil, {"--transaction-id", "2"}} {
		tmeta, spare := fixture(t, "transactions"), filepath.Join(t.TempDir(), "lvol0_pmspare")
		empty(t, spare, size(t, tmeta))
		asked(t, "thin_repair", append(options, "-i", tmeta, "-o", spare)...)
		asked(t, "thin_check", "-q", spare)
		want := read(t, tmeta, false).superblock.TransactionID
		if len(options) == 2 {
			want = 2
		}
		if got := lvm2FirstLine(t, spare); got != want {
			t.Errorf("%q: transaction %d, want %d", options, got, want)
		}
	}
	// A pool that lost its content is a failure, and the spare is not swapped in.
	lost, spare := fixture(t, "transactions"), filepath.Join(t.TempDir(), "spare")
	damage(t, lost)
	empty(t, spare, size(t, lost))
	if r := run(t, filepath.Join(tools, "thin_repair"), "", "-i", lost, "-o", spare); r.code == 0 {
		t.Errorf("mappings are lost, exit code 0")
	}
	wide := fixture(t, "wide-sharing") // larger than a pipe buffer
	lvm2FirstLine(t, wide)
	firstWrite(t, "thin_dump", "--style", "0.9", wide)
	firstWrite(t, "thin_dump", "-f", "json", wide)
}

// lvm2FirstLine gets the transaction id from the first line of thin_dump.
func lvm2FirstLine(t *testing.T, path string) uint64 {
	t.Helper()
	line := firstWrite(t, "thin_dump", path)
	_, rest, _ := strings.Cut(line, `transaction="`)
	var id uint64
	if _, err := fmt.Sscanf(rest, `%d"`, &id); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return id
}

// firstWrite runs a tool, closes the pipe after its first write, and returns what was written: one
// line. In this pipe, every write is a packet. The tool must exit as if everything had been read.
func firstWrite(t *testing.T, tool string, args ...string) string {
	t.Helper()
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_DIRECT|syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	in, out := os.NewFile(uintptr(ends[0]), "pipe"), os.NewFile(uintptr(ends[1]), "pipe")
	defer in.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(tools, tool), args...)
	cmd.Stdout, cmd.Stderr = out, &stderr
	err := cmd.Start()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	const packet = 4096
	buf := make([]byte, packet)
	n, err := in.Read(buf)
	in.Close()
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("after the pipe was closed: %v, %s", err, &stderr)
	}
	line := string(buf[:n])
	if err != nil || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
		t.Fatalf("first write %q, %v", line, err)
	}
	return line
}

// lvm2Restores gives thin_restore an unlinked file, without flags and without a newline at the end.
func lvm2Restores(t *testing.T) {
	const description = `<superblock uuid="" time="0" transaction="1" version="2" data_block_size="128" nr_data_blocks="100">
  <device dev_id="1" mapped_blocks="10" transaction="0" creation_time="0" snap_time="0">
    <range_mapping origin_begin="0" data_begin="0" length="10" time="0"/>
  </device>
</superblock>`
	f := must(os.CreateTemp(t.TempDir(), ""))
	defer f.Close()
	must(f.WriteString(description))
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), "/proc/self/fd/3", "/dev/stdin"} {
		volume := filepath.Join(t.TempDir(), "lv")
		empty(t, volume, 4<<20)
		cmd := exec.CommandContext(t.Context(), filepath.Join(tools, "thin_restore"), "-i", path, "-o", volume)
		cmd.Stdin, cmd.ExtraFiles = f, []*os.File{f}
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%s: %v, %s", path, err, out)
		}
		asked(t, "thin_check", "-q", "--strict", volume)
		sameBlocks(t, read(t, volume, false).mappings[1], blocks{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9})
	}
}
