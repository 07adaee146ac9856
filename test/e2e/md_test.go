package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/internal/md"
)

// mdScript creates arrays one by one on the first five disks, fills them, and saves the content of
// the disks on the sixth. Its arguments are cases: NAME:DISKS:MDADM OPTIONS.
const mdScript = `
disks="/dev/vda /dev/vdb /dev/vdc /dev/vdd /dev/vde" at=0
for m in raid0 raid1 raid10 raid456; do modprobe $m 2>/dev/null; done
for c; do
  name=${c%%:*} rest=${c#*:}; count=${rest%%:*} options=${rest#*:}
  for d in $disks; do dd if=/dev/zero of=$d bs=1M 2>/dev/null; done
  # Parity of zeros is zero.
  mdadm -q -C /dev/md0 --run --assume-clean -n $count $options $(echo $disks | cut -d' ' -f1-$count) || die "$name"
  dd if=/dev/urandom of=/dev/md0 bs=1M 2>/dev/null; sync
  echo "$name $count $at $(wc -c </dev/md0) $(sha256sum </dev/md0 | cut -d' ' -f1)"
  mdadm -q --wait /dev/md0; mdadm -q --stop /dev/md0 || die "$name: stop"
  for d in $disks; do dd if=$d of=/dev/vdf bs=1M seek=$at 2>/dev/null; at=$((at + 16)); done
done
sync
`

// mdSizes are the disk sizes in MiB. They differ, so that raid0 has zones.
var mdSizes = []int64{8, 10, 16, 8, 13}

// mdCases returns all levels and layouts that mdadm can create and Linux 6.1 can run.
func mdCases() []string {
	cases := []string{
		"raid0-alternate:3:-e 1.2 -l0 -c 64 --layout=alternate",
		"raid0-original:5:-e 1.1 -l0 -c 16 --layout=original",
		"raid1:3:-e 1.1 -l1",
		"raid4:4:-e 1.0 -l4 -c 64",
		"raid5-0.90:3:-e 0.90 -l5 -c 64",
	}
	for _, l := range strings.Fields("left-asymmetric right-asymmetric left-symmetric right-symmetric parity-first parity-last") {
		cases = append(cases, fmt.Sprintf("raid5-%s:4:-e 1.2 -l5 -c 64 --layout=%s", l, l))
	}
	for _, l := range strings.Fields("left-asymmetric right-asymmetric left-symmetric right-symmetric parity-first parity-last ddf-zero-restart ddf-N-restart ddf-N-continue left-asymmetric-6 right-asymmetric-6 left-symmetric-6 right-symmetric-6 parity-first-6") {
		cases = append(cases, fmt.Sprintf("raid6-%s:5:-e 1.2 -l6 -c 32 --layout=%s", l, l))
	}
	for _, l := range strings.Fields("n2 n3 f2 f3 o2 o3") {
		for count := 3; count <= 5; count++ {
			cases = append(cases, fmt.Sprintf("raid10-%s-%d:%d:-e 1.2 -l10 -c 16 --layout=%s", l, count, count, l))
		}
	}
	return cases
}

// Arrays created and filled by the kernel read as from the kernel, complete and without any members
// they can do without.
func TestKernelMD(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	var cases []string
	for _, c := range mdCases() {
		name, _, _ := strings.Cut(c, ":")
		if sampled(name, "raid0-original", "raid5-right-asymmetric", "raid10-f2-3") {
			cases = append(cases, c)
		}
	}
	dir := t.TempDir()
	var args []string
	for i, mib := range append(mdSizes, int64(len(cases)*16*len(mdSizes))) {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, mib<<20); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--disk", path)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(mdScript), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, runInVM, append(append(args, script), cases...)...)
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	kept, err := os.Open(filepath.Join(dir, fmt.Sprint(len(mdSizes))))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	seen := 0
	for line := range strings.Lines(r.out) {
		var a keptArray
		if _, err := fmt.Sscan(line, &a.name, &a.disks, &a.at, &a.size, &a.sum); err == nil {
			seen++
			a.compare(t, kept)
		}
	}
	if seen != len(cases) {
		t.Errorf("%d of %d arrays\n%s", seen, len(cases), r.out)
	}
}

// A keptArray is an array created by the kernel, and what the kernel read from it.
type keptArray struct {
	name     string
	disks    int
	at, size int64 // in MiB, in bytes
	sum      string
}

func (a keptArray) compare(t *testing.T, kept io.ReaderAt) {
	t.Helper()
	var members []md.Member
	for i := range a.disks {
		r := io.NewSectionReader(kept, (a.at+int64(i)*16)<<20, mdSizes[i]<<20)
		s, err := md.Recognise(r, r.Size())
		if err != nil || s == nil {
			t.Errorf("%s, disk %d: %+v, %v", a.name, i, s, err)
			return
		}
		members = append(members, md.Member{Name: fmt.Sprint("disk ", i), R: r, Size: r.Size(), Super: s})
	}
	spare := map[int]int{1: a.disks - 1, 4: 1, 5: 1, 6: 2}[members[0].Super.Level]
	if l := members[0].Super; l.Level == 10 {
		spare = max(l.Layout&0xff, l.Layout>>8&0xff) - 1
	}
	for i := -1; i < len(members); i++ { // leave out two members, one or, with -1, none
		for j := -1; j <= i; j++ {
			var rest []md.Member
			for k, m := range members {
				if k != i && k != j {
					rest = append(rest, m)
				}
			}
			if len(members)-len(rest) <= spare {
				a.compareMembers(t, rest)
			}
		}
	}
}

func (a keptArray) compareMembers(t *testing.T, members []md.Member) {
	t.Helper()
	arr, err := md.Assemble(members, md.Options{})
	if err != nil {
		t.Errorf("%s, %d members: %v", a.name, len(members), err)
		return
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.NewSectionReader(arr, 0, arr.Size()))
	if got := fmt.Sprintf("%x", sum.Sum(nil)); err != nil || n != a.size || got != a.sum || arr.Notes != nil {
		t.Errorf("%s, %d members: %d bytes, sum %s, want %d, %s; notes %q, %v", a.name, len(members), n, got, a.size, a.sum, arr.Notes, err)
	}
}
