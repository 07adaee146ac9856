package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/metadata/block"
)

// A loggedWriter writes to /dev/mapper/w.
type loggedWriter struct {
	name, command string
	disk          string // old content of the disk; "": the result of the previous writer
	// wrong reorders the writes so that they are unsafe.
	wrong func([]logEntry) []logEntry
}

// An undo file is in /undo, other inputs are in /put. A repair that only writes to unused blocks
// leaves the old metadata complete, so its undo first writes the superblock, then those blocks.
var loggedWriters = []loggedWriter{
	{"restore", "thin_restore -i /put/new.xml -o /dev/mapper/w --undo /undo/restore", "old", superblockFirst},
	{"undo restore", "thin_check --apply-undo /undo/restore /dev/mapper/w", "", superblockFirst},
	{"check", "thin_check --auto-repair --undo /undo/check /dev/mapper/w", "leaking", superblockFirst},
	{"undo check", "thin_check --apply-undo /undo/check /dev/mapper/w", "", superblockLast},
	{"repair in place", "thin_repair -i /dev/mapper/w --in-place --accept-loss --undo /undo/repair", "damaged", superblockFirst},
	{"undo repair", "thin_check --apply-undo /undo/repair /dev/mapper/w", "", superblockFirst},
	{"shrink", "thin_shrink -i /put/new -o /dev/mapper/w --no-copy --nr-blocks 15000", "old", superblockFirst},
	{"receive", "thin_receive -i /put/stream --metadata /dev/mapper/w --data /tmp/data", "old", superblockFirst},
}

const (
	loggedSize = 2 << 20  // of the metadata
	logSize    = 32 << 20 // room for the log of a writer
)

// logScript starts each script. vda is a disk for metadata.
const logScript = `
mkdir /tmp/tools /undo
chmod 755 /put/thin_tools
for tool in thin_check thin_receive thin_repair thin_restore thin_shrink; do ln -s /put/thin_tools /tmp/tools/$tool; done
start() { dd if=/put/$1 of=/dev/vda bs=1M conv=fsync 2>/dev/null; }
save() { blockdev --flushbufs /dev/vda; dd if=/dev/vda of=/out/$1 bs=1M 2>/dev/null; }
logged() { # logged N TOOL...: keep what the tool writes as the log N on vdb
  n=$1; shift
  dmsetup create log --table "0 $LOG linear /dev/vdb $((n * LOG))" || die "log"
  dmsetup create w --table "0 $(sectors /dev/vda) log-writes /dev/vda /dev/mapper/log" || die "log-writes"
  /tmp/tools/"$@" >/tmp/out 2>&1 || die "$*: $(cat /tmp/out)"
  dmsetup remove w && dmsetup remove log || die "remove"
  save $n
}
faulty() { # faulty N KIND BLOCK TOOL...: one block of the device fails
  n=$1 at=$(($3 * 8)) size=$(sectors /dev/vda)
  case $2 in
    error) bad="error" ;;
    write) # dm-flakey fails flushes too, but does not get those of a device without a cache
      dmsetup create bad --table "0 8 flakey /dev/vda $at 0 3600 1 error_writes" || die "flakey"
      echo "write through" >/sys/block/dm-$(dmsetup info -c --noheadings -o minor bad)/queue/write_cache || die "write through"
      bad="linear /dev/mapper/bad 0" ;;
    flush) bad="flakey /dev/vda $at 0 3600 1 error_writes" ;;
  esac
  shift 3
  { [ $at = 0 ] || echo "0 $at linear /dev/vda 0"
    echo "$at 8 $bad"
    echo "$((at + 8)) $((size - at - 8)) linear /dev/vda $((at + 8))"; } | dmsetup create w || die "table"
  rm -f /tmp/data*
  /tmp/tools/"$@" >/out/$n.said 2>&1
  echo $? >/out/$n.code
  dmsetup remove w || die "remove"
  [ ! -e /dev/mapper/bad ] || dmsetup remove bad || die "remove"
  save $n
}
`

// loggedFiles creates the inputs of the logged writers.
func loggedFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for i, name := range []string{"old", "new", "leaking", "damaged"} {
		empty(t, in(name), loggedSize)
		ours(t, "thin_generate", "-o", in(name), "--devices", "4", "--mappings", "1200", "--snapshots", "2", "--divergence", "5", "--nr-data-blocks", "16000", "--seed", fmt.Sprint(i))
	}
	for name, damage := range map[string]func(*testing.T, block.Device){"leaking": leak, "damaged": lossyDamage} {
		dev := must(block.Open(in(name), block.Options{Write: true}))
		damage(t, dev)
		dev.Close()
	}
	ours(t, "thin_dump", "-o", in("new.xml"), in("new"))
	empty(t, in("sent"), loggedSize)
	empty(t, in("data"), 1<<30) // sparse
	ours(t, "thin_generate", "-o", in("sent"), "--devices", "2", "--mappings", "100", "--snapshots", "1", "--nr-data-blocks", "400")
	ours(t, "thin_send", "--metadata", in("sent"), "--data", in("data"), "-o", in("stream"))
	return dir
}

// loggedVM runs a script in the virtual machine with the files of dir, and returns the folder of its
// results.
func loggedVM(t *testing.T, dir, log, script string) string {
	t.Helper()
	out, path, disk := t.TempDir(), filepath.Join(t.TempDir(), "script"), filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, []byte(logScript+script), 0o600); err != nil {
		t.Fatal(err)
	}
	empty(t, disk, loggedSize)
	args := []string{"--env", fmt.Sprint("LOG=", logSize/sectorBytes), "--disk", disk, "--disk", log, "--get", out, "--put", filepath.Join(tools, "thin_tools")}
	for _, name := range names(t, dir) {
		if name != "data" && name != "sent" {
			args = append(args, "--put", filepath.Join(dir, name))
		}
	}
	if r := run(t, runInVM, append(args, path)...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	return out
}

// The kernel logs the writes and flushes of our writers, below its page cache. If the power fails at any
// point, the metadata is the old or the new, complete, or refused by the kernel. The same holds if a
// block cannot be read or written.
func TestKernelLogWrites(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	dir := loggedFiles(t)
	log := filepath.Join(t.TempDir(), "log")
	empty(t, log, int64(len(loggedWriters))*logSize)
	var script strings.Builder
	for i, w := range loggedWriters {
		if w.disk != "" {
			fmt.Fprintf(&script, "start %s\n", w.disk)
		}
		fmt.Fprintf(&script, "logged %d %s\n", i, w.command)
	}
	script.WriteString("cp -r /undo /out/undo\n")
	out := loggedVM(t, dir, log, script.String())
	if err := os.Rename(filepath.Join(out, "undo"), filepath.Join(dir, "undo")); err != nil {
		t.Fatal(err)
	}
	random := 60
	if os.Getenv("THINPOOL_KERNEL") == "all" {
		random = 2000
	}
	logs := must(os.ReadFile(log))
	var old []byte
	var faults []fault
	for i, w := range loggedWriters {
		if w.disk != "" {
			old = must(os.ReadFile(filepath.Join(dir, w.disk)))
		}
		before, made := old, must(os.ReadFile(filepath.Join(out, fmt.Sprint(i))))
		old = made
		t.Run(w.name, func(t *testing.T) {
			entries, err := readLog(logs[i*logSize : (i+1)*logSize])
			if err != nil {
				t.Fatal(err)
			}
			replayed(t, w, entries, before, made, random)
			faults = append(faults, faultsOf(w, entries, before, made)...)
		})
	}
	if !t.Failed() {
		tryFaults(t, dir, log, faults)
	}
}

// replayed judges the possible remains of the writes in a log. To show that this can fail, it also
// judges wrong logs.
func replayed(t *testing.T, w loggedWriter, entries []logEntry, old, made []byte, random int) {
	t.Helper()
	fresh := func() *judge { return must(newJudge(t.Context(), old, made)) }
	j := fresh()
	left, err := replay(entries, old, random, j.judge)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(left, made) {
		t.Error("the log does not lead to what is on the disk")
	}
	flushes := 0
	for _, e := range entries {
		if e.flush {
			flushes++
		}
	}
	t.Logf("%d writes, %d flushes, %v", len(withoutFlushes(entries)), flushes, j)
	if j.seen["old"] == 0 || j.seen["new"] == 0 {
		t.Error("neither before nor after")
	}
	for what, wrong := range map[string][]logEntry{"no flush": withoutFlushes(entries), "the superblock too early or too late": w.wrong(entries)} {
		if _, err := replay(wrong, old, random, fresh().judge); err == nil {
			t.Errorf("%s: judged right", what)
		}
	}
}

// A fault is a block that fails while a writer runs.
type fault struct {
	loggedWriter
	kind      string // "error": no read or write works; "write": no write; "flush": no write, nor any flush of the device
	nr        block.Nr
	old, made []byte
}

// faultsOf returns faults of two blocks that a writer writes: the middle one, and the superblock.
func faultsOf(w loggedWriter, entries []logEntry, old, made []byte) []fault {
	var written []block.Nr
	for _, e := range entries {
		for at := int64(0); at < int64(len(e.data)); at += block.Size {
			if nr := block.Nr((e.off + at) / block.Size); nr != 0 {
				written = append(written, nr)
			}
		}
	}
	slices.Sort(written)
	written = slices.Compact(written)
	var all []fault
	for _, nr := range []block.Nr{written[len(written)/2], 0} {
		for _, kind := range []string{"error", "write", "flush"} {
			if nr != 0 || os.Getenv("THINPOOL_KERNEL") == "all" {
				all = append(all, fault{w, kind, nr, old, made})
			}
		}
	}
	return all
}

// tryFaults runs writers on devices with a failing block.
func tryFaults(t *testing.T, dir, log string, faults []fault) {
	t.Helper()
	var script strings.Builder
	for i, f := range faults {
		name := fmt.Sprint("before", i)
		if err := os.WriteFile(filepath.Join(dir, name), f.old, 0o600); err != nil {
			t.Fatal(err)
		}
		// The undo file must not exist if it is written, and must exist if it is read.
		fmt.Fprintf(&script, "rm -rf /undo; %s\nstart %s\nfaulty %d %s %d %s\n",
			map[bool]string{true: "cp -r /put/undo /undo", false: "mkdir /undo"}[strings.Contains(f.command, "--apply-undo")],
			name, i, f.kind, f.nr, f.command)
	}
	out := loggedVM(t, dir, log, script.String())
	for i, f := range faults {
		t.Run(fmt.Sprintf("%s, %s of block %d", f.name, f.kind, f.nr), func(t *testing.T) {
			read := func(suffix string) []byte { return must(os.ReadFile(filepath.Join(out, fmt.Sprint(i)+suffix))) }
			code, said := strings.TrimSpace(string(read(".code"))), string(read(".said"))
			if code == "0" || !strings.Contains(said, "input/output error") {
				t.Errorf("exit code %s, %s", code, said)
			}
			j := must(newJudge(t.Context(), f.old, f.made))
			if err := j.judge(read("")); err != nil {
				t.Error(err)
			}
			lines := strings.Split(strings.TrimSpace(said), "\n")
			t.Logf("%v, exit code %s, %s", j, code, strings.Join(lines[max(0, len(lines)-2):], "\n"))
		})
	}
}
