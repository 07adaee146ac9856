package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/test/shared"
)

// shrunkSize returns a size to which an image can shrink while some used blocks must move: a tenth
// more than it uses.
func shrunkSize(t *testing.T, path string) string {
	t.Helper()
	first, _, _ := strings.Cut(ours(t, "thin_shrink", "--dry-run", "--format", "json", "--nr-blocks", "1000000000", "-i", path), "\n")
	var plan struct {
		Used uint64 `json:"data_used_blocks"`
	}
	if err := json.Unmarshal([]byte(first), &plan); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(plan.Used + plan.Used/10 + 1)
}

// shrunk writes metadata for a data device of blocks data blocks, and returns the path.
func shrunk(t *testing.T, path, blocks string) string {
	t.Helper()
	made := filepath.Join(t.TempDir(), "shrunk")
	empty(t, made, size(t, path))
	ours(t, "thin_shrink", "-q", "--no-copy", "--nr-blocks", blocks, "-i", path, "-o", made)
	return made
}

// Shrunk metadata and shrunk dumps are sound. Other implementations produce the same dump, except
// for the number of data blocks, which they do not change.
func TestShrink(t *testing.T) {
	t.Parallel()
	many(t)
	number := regexp.MustCompile(` nr_data_blocks="\d+"`)
	for _, im := range images(t) {
		t.Run(im.name, func(t *testing.T) {
			blocks := shrunkSize(t, im.path)
			made := shrunk(t, im.path, blocks)
			dump := ours(t, "thin_dump", made)
			if !strings.Contains(dump, ` nr_data_blocks="`+blocks+`"`) {
				t.Errorf("want %s data blocks:\n%.200s", blocks, dump)
			}
			unflagged := made
			if withoutFlag(dump) != dump { // needs_check is kept
				unflagged = copyOf(t, made)
				ours(t, "thin_check", "-q", "--clear-needs-check-flag", unflagged)
			}
			ours(t, "thin_check", "--strict", unflagged)
			verify(t, unflagged)
			keptShared(t, im.path, made)

			dir := t.TempDir()
			in, out, theirs := filepath.Join(dir, "in.xml"), filepath.Join(dir, "out.xml"), filepath.Join(dir, "theirs.xml")
			ours(t, "thin_dump", "-o", in, im.path)
			ours(t, "thin_shrink", "-q", "--no-copy", "--nr-blocks", blocks, "-i", in, "-o", out)
			text := string(must(os.ReadFile(out)))
			// A dump does not include blocks that are counted but not mapped by devices.
			if !slices.Contains([]string{"powercut", "metadata-snap"}, im.name) {
				want := ours(t, "thin_dump", "--style", "0.9", restore(t, text, size(t, im.path)))
				if diff := cmp.Diff(want, ours(t, "thin_dump", "--style", "0.9", made)); diff != "" {
					t.Errorf("of the dump and of the metadata (-dump +metadata):\n%.2000s", diff)
				}
			}
			if shared.Optional(t, "bench", "get-peer") == "" {
				return
			}
			if r := run(t, filepath.Join(must(newerPeer()), "thin_shrink"), "--no-copy", "--nr-blocks", blocks, "--data", "none", "-i", in, "-o", theirs); r.code != 0 {
				t.Fatalf("their exit code is %d: %s", r.code, r.stderr)
			}
			plain := func(s string) string { return strings.TrimSpace(number.ReplaceAllString(s, "")) }
			if diff := cmp.Diff(plain(string(must(os.ReadFile(theirs)))), plain(text)); diff != "" {
				t.Errorf("dumps differ (-theirs +ours):\n%.2000s", diff)
			}
		})
	}
}

// The kernel activates shrunk images on the smaller data device and writes to it.
func TestKernelShrunk(t *testing.T) {
	t.Parallel()
	needKernel(t, activate)
	all := []string{"layers", "one-fragmented", "wide-sharing", "odd-blocks", "metadata-snap"}
	for _, im := range images(t) {
		if slices.Contains(all, im.name) && sampled(im.name, "one-fragmented", "metadata-snap") {
			t.Run(im.name, func(t *testing.T) { accepted(t, shrunk(t, im.path, shrunkSize(t, im.path))) })
		}
	}
}

// fillPool creates a pool of 1024 data blocks in which two devices come after the space left by a
// third.
const fillPool = `
random() { dd if=/dev/urandom of=/dev/mapper/t$1 bs=64k seek=$2 count=$3 conv=notrunc oflag=direct 2>/dev/null; }
mkpool /dev/vda /dev/vdb 128 0 skip_block_zeroing || die "the pool"
for i in 1 2; do mkthin $i 65536 || die "device $i"; done
random 1 0 350; random 2 5 300 && snap 3 2 65536 && random 3 100 70 && random 2 400 40 || die "writing"
delete 1 || die "deleting"
for i in 2 3; do sha256sum </dev/mapper/t$i; done
rmall
`

// comparePool activates the pool again on its whole data device, and reads and writes.
const comparePool = `
mkpool /dev/vda /dev/vdb 128 0 skip_block_zeroing || die "the pool"
for i in 2 3; do thin $i 65536 || die "device $i"; done
for i in 2 3; do sha256sum </dev/mapper/t$i; done
dmsetup status pool >&2
dd if=/dev/zero of=/dev/mapper/t3 bs=64k count=5 conv=notrunc oflag=direct 2>/dev/null || die "writing"
rmall && thin_check -q /dev/vda || die "the end"
`

// The kernel fills a pool, we shrink it and truncate its data device, and the kernel reads the same
// from all thin devices.
func TestKernelShrinkData(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	const blockBytes = 64 << 10
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	guest := func(script, meta, data string) string {
		t.Helper()
		if err := os.WriteFile(path("guest"), []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		r := run(t, runInVM, "--disk", meta, "--disk", data, path("guest"))
		if r.code != 0 {
			t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
		}
		return r.out
	}
	sums := func(out string) []string { return regexp.MustCompile(`[0-9a-f]{64}`).FindAllString(out, -1) }
	empty(t, path("meta"), 4<<20)
	empty(t, path("data"), 1024*blockBytes)
	want := sums(guest(fillPool, path("meta"), path("data")))
	if len(want) != 2 || want[0] == want[1] {
		t.Fatalf("the devices are %q", want)
	}
	blocks := shrunkSize(t, path("meta"))
	for _, form := range []string{"binary", "XML"} {
		if !sampled(form, "binary") {
			continue
		}
		t.Run(form, func(t *testing.T) {
			data, in, out := copyOf(t, path("data")), path("meta"), path("new-"+form)
			empty(t, out, 4<<20)
			if form == "XML" {
				in = path("old.xml")
				ours(t, "thin_dump", "-o", in, path("meta"))
				ours(t, "thin_shrink", "-i", in, "-o", path("new.xml"), "--data", data, "--nr-blocks", blocks)
				ours(t, "thin_restore", "-i", path("new.xml"), "-o", out)
			} else {
				ours(t, "thin_shrink", "-i", in, "-o", out, "--data", data, "--nr-blocks", blocks)
			}
			// The old metadata still works.
			if got := sums(guest(comparePool, copyOf(t, path("meta")), copyOf(t, data))); !slices.Equal(got, want) {
				t.Errorf("with the old metadata the devices are %q, want %q", got, want)
			}
			var cut int64
			fmt.Sscan(blocks, &cut)
			if err := os.Truncate(data, cut*blockBytes); err != nil {
				t.Fatal(err)
			}
			if got := sums(guest(comparePool, out, data)); !slices.Equal(got, want) {
				t.Errorf("the devices are %q, want %q", got, want)
			}
		})
	}
}

// shrinkLVM follows the instructions for LVM in thin_shrink(8): a pool of 100 extents shrinks to
// 40.
const shrinkLVM = `
[ -e /dev/stdin ] || { ln -s /proc/self/fd /dev/fd; ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr; }
modprobe dm-snapshot
random() { dd if=/dev/urandom of=$1 bs=64k seek=$2 count=$3 oflag=direct 2>/dev/null; }
sums() { for v in b s; do sha256sum </dev/vg/$v || exit 1; done; }
set -e
pvcreate -q /dev/vda; vgcreate -q -s 1m vg /dev/vda
lvcreate -q -y --type thin-pool -L 100m --poolmetadatasize 4m -c 64k -n pool vg
lvcreate -q -y -V 60m -T vg/pool -n a; lvcreate -q -y -V 60m -T vg/pool -n b
random /dev/vg/a 0 400; random /dev/vg/b 0 500
lvcreate -q -y -s -n s vg/b; lvchange -ay -K vg/s; random /dev/vg/s 300 50
lvremove -q -y vg/a
sums >/tmp/before

lvchange -an vg/s vg/b vg/pool
lvchange -y -ay vg/pool_tdata
table=$(dmsetup table vg-pool_tdata)
lvchange -an vg/pool_tdata
dmsetup create tdata-rw --table "$table"
lvchange -y -ay vg/pool_tmeta
lvcreate -y -an -Zn -Wn -L 4m -n newmeta vg
lvchange -ay vg/newmeta
/put/thin_shrink -i /dev/mapper/vg-pool_tmeta -o /dev/vg/newmeta --data /dev/mapper/tdata-rw --nr-blocks 640
dmsetup remove tdata-rw
lvchange -an vg/newmeta vg/pool_tmeta
lvconvert -y --swapmetadata --poolmetadata vg/newmeta vg/pool
vgcfgbackup -f /tmp/vg.txt vg
sed -i '/^\t\tpool {/,/^\t\t}/s/extent_count = 100/extent_count = 40/; /^\t\tpool_tdata {/,/^\t\t}/s/extent_count = 100/extent_count = 40/' /tmp/vg.txt
vgcfgrestore --force -f /tmp/vg.txt vg

lvchange -ay vg/pool vg/b; lvchange -ay -K vg/s
dmsetup table vg-pool-tpool | grep '^0 81920 thin-pool '
sums | diff - /tmp/before
vgchange -an vg
`

// LVM activates a pool shrunk according to the man page, with the same content.
func TestLVMShrunk(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	disk, guest := filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "guest")
	empty(t, disk, 200<<20)
	if err := os.WriteFile(guest, []byte(shrinkLVM), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, runInVM, "--disk", disk, "--put", filepath.Join(tools, "thin_shrink"), guest); r.code != 0 {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
}
