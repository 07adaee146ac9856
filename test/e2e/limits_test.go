//go:build unix

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limitedArgs has arguments for each tool that give it some work, in a folder with metadata in meta
// and large, a dump in xml and a pack in packed.
var limitedArgs = map[string]string{
	"thin_check":           "large",
	"thin_delta":           "--thin1 1 --thin2 2 large",
	"thin_dump":            "-o new-dump large",
	"thin_export":          "--dev-id 1 --size 1m --metadata large --format json",
	"thin_files":           "--range 0..-1 files",
	"thin_generate":        "-o generated --devices 2 --mappings 1000",
	"thin_ls":              "large",
	"thin_metadata_pack":   "-i meta -o new-pack",
	"thin_metadata_size":   "--from large",
	"thin_metadata_unpack": "--force -i packed -o unpacked",
	"thin_migrate":         "--source-dev data --dest-file new-copy",
	"thin_receive":         "-i stream --metadata $RANDOM-meta --data $RANDOM-data", // new files each time
	"thin_repair":          "-i large -o repaired",
	"thin_report":          "-o page large",
	"thin_restore":         "-i xml -o restored",
	"thin_rmap":            "--region 0..1000000 large",
	"thin_scan":            "-o new-scan large",
	"thin_send":            "--metadata meta --data data -o new-stream",
	"thin_shrink":          "--binary --nr-blocks 2000000 --no-copy -i large -o shrunk",
	"thin_stat":            "large",
	"thin_tools":           "thin_check large",
	"thin_trim":            "--dry-run --metadata-dev large",
	"thin_volumes":         "meta",
}

func limitedFolder(t *testing.T, mappings string) string {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	empty(t, path("meta"), 4<<20)
	write(t, path("files"), unpackFileSystem(t, "ext4"))
	ours(t, "thin_generate", "-o", path("meta"), "--devices", "2", "--mappings", "1000")
	ours(t, "thin_metadata_pack", "-i", path("meta"), "-o", path("packed"))
	empty(t, path("data"), 1<<30)
	ours(t, "thin_send", "--metadata", path("meta"), "--data", path("data"), "-o", path("stream"))
	empty(t, path("large"), 256<<20)
	ours(t, "thin_generate", "-o", path("large"), "--devices", "20", "--mappings", mappings, "--snapshots", "20", "--divergence", "10")
	ours(t, "thin_dump", "-o", path("xml"), path("large"))
	for _, name := range []string{"generated", "unpacked", "repaired", "restored", "shrunk"} {
		empty(t, path(name), 256<<20)
	}
	return dir
}

// With few descriptors or little memory, every tool works or says what it lacks and exits with 3.
// It never exits with a trace of the Go runtime, or with 2, the code for a wrong command line.
func TestLimits(t *testing.T) {
	t.Parallel()
	many(t)
	if runtime.GOOS != "linux" || entry() == "" {
		t.Skip("little memory is looked after on linux/amd64 and linux/arm64")
	}
	dir := limitedFolder(t, "2000")
	limits := strings.Split("-n 3,-n 5,-n 6,-n 7,-n 8,-n 9,-n 10,-v 200000,-v 700000,-v 1050000,-d 50000,-d 99000", ",")
	names, err := os.ReadDir(tools)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range names {
		args, ok := limitedArgs[tool.Name()]
		if !ok {
			t.Errorf("%s is not tested", tool.Name())
		}
		failed := map[string]bool{}
		for _, limit := range limits {
			r := run(t, "bash", "-c", fmt.Sprintf("cd %s && ulimit %s && exec %s %s", dir, limit, filepath.Join(tools, tool.Name()), args))
			said := "out of memory: raise the limits"
			if limit[:2] == "-n" {
				said = "too many open files"
			}
			noInput := tool.Name() == "thin_volumes" && strings.Contains(r.stderr, "no LVM label") ||
				tool.Name() == "thin_migrate" && strings.Contains(r.stderr, "not an active thin device")
			switch {
			case r.code == 0 || r.code == 1 && noInput:
			case r.code != 3 || !strings.Contains(r.stderr, said) || strings.Contains(r.stderr, "goroutine"):
				t.Errorf("%s with ulimit %s: exit code %d, %.2000s", tool.Name(), limit, r.code, r.stderr)
			default:
				failed[limit[:2]] = true
			}
		}
		if len(failed) < 3 {
			t.Errorf("%s: only limits %v were too low", tool.Name(), failed)
		}
	}
}

// Enough memory to start, but not for the work.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	many(t)
	if runtime.GOOS != "linux" {
		t.Skip("for Linux")
	}
	dir := limitedFolder(t, "100000")
	for _, tool := range []string{"thin_check", "thin_repair"} {
		r := run(t, "bash", "-c", fmt.Sprintf("cd %s && ulimit -d 98500 && exec %s %s", dir, filepath.Join(tools, tool), limitedArgs[tool]))
		if r.code != 3 || r.stderr != tool+": out of memory: raise the limits (ulimit -v, ulimit -d)\n" {
			t.Errorf("%s: exit code %d, %.2000s", tool, r.code, r.stderr)
		}
	}
}

// Limited memory changes nothing else: exit codes for wrong command lines, messages on standard
// error, the name that selects a tool, and signals.
func TestLimitedAsUsual(t *testing.T) {
	t.Parallel()
	many(t)
	if runtime.GOOS != "linux" {
		t.Skip("for Linux")
	}
	dir := limitedFolder(t, "2000")
	limited := func(args string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "bash", "-c", "cd "+dir+" && ulimit -v 4000000 && PATH="+tools+":$PATH && exec "+args)
	}
	for args, want := range map[string]result{
		"thin_check --no-such-option":                    {2, "", "no-such-option"},
		"thin_check xml":                                 {1, "", "this is a dump as XML"},
		"thin_tools thin_check -V":                       {0, "1.0.0\n", ""},
		"thin_restore -i <(cat xml) -o restored":         {0, "", ""},
		"thin_check -q 3<meta /dev/fd/3":                 {0, "", ""},
		"bash -c 'exec -a thin_ls thin_tools -V' -- ":    {0, "1.0.0\n", ""},
		"env THINPOOL_STDERR=text thin_check -q missing": {3, "", ""},
	} {
		cmd := limited(args)
		var out, stderr strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &stderr
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != want.code || out.String() != want.out || !strings.Contains(stderr.String(), want.stderr) || want.stderr == "" && stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, out.String(), stderr.String())
		}
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		in, pipe, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		cmd := limited("thin_restore -i - -o restored")
		var stderr strings.Builder
		cmd.Stdin, cmd.Stderr = in, &stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 100 { // until there is a child
			if children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)); len(children) > 0 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(300 * time.Millisecond)
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
		pipe.Close()
		if code := cmd.ProcessState.ExitCode(); code != 128+int(sig) || !strings.Contains(stderr.String(), "interrupted") {
			t.Errorf("%v: exit code %d, stderr %q", sig, code, stderr.String())
		}
	}
}
