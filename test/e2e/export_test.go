package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Sizes of the devices in exportGuest, in sectors: the last blocks are partial.
var exportSizes = map[string]int{"1": 100007, "2": 100007, "3": 60001, "4": 40000}

// exportGuest creates a pool on two plain devices, with devices of every kind, full of random
// bytes. One has a shorter external origin that ends within a block. It prints the checksums of all
// devices as read by the kernel and by thin_export: from the live pool through its metadata
// snapshot, and from the inactive pool.
const exportGuest = `
noise() { dd if=/dev/urandom of=$1 bs=$4 seek=$2 count=$3 conv=notrunc,fsync 2>/dev/null || die "noise $*"; }
sums() { for id in 1 2 3 4; do echo "$1 $id $(eval "$2" | sha256sum | cut -d' ' -f1)"; done; }
mkpool /dev/vda /dev/vdb 128 || die pool
mkthin 1 100007 || die 1
noise /dev/mapper/t1 0 300 4096
for i in 19 400 401 777 1900 3001 6000 9999; do noise /dev/mapper/t1 $i $((i % 37 + 1)) 4096; done
noise /dev/mapper/t1 100006 1 512
snap 2 1 100007 || die 2
for i in 5 402 2500 7000; do noise /dev/mapper/t2 $i $((i % 41 + 1)) 4096; done
vmio trim /dev/mapper/t2 2 60 65536
msg create_thin 3 && thin 3 60001 /dev/vdc || die 3
for i in 2 100 1279 5000; do noise /dev/mapper/t3 $i 3 4096; done
mkthin 4 80000 || die 4
noise /dev/mapper/t4 3000 1500 4096
noise /dev/mapper/t1 4000 30 4096
rmthin 4; thin 4 40000
sync; echo 3 >/proc/sys/vm/drop_caches
sums kernel 'cat /dev/mapper/t$id'
export="/put/thin_tools thin_export -q --metadata /dev/vda --data /dev/vdb -o -"
size() { blockdev --getsize64 /dev/mapper/t$1; }
for id in 1 2 3 4; do eval "size$id=$(size $id)"; done
msg reserve_metadata_snap
sums live 'eval $export -m --dev-id $id --size \$size$id $([ $id != 3 ] || echo --origin /dev/vdc)'
msg release_metadata_snap
$export --dev-id 1 >/dev/null && die "a pool in use was opened"
rmall || die rmall
sums down 'eval $export --dev-id $id --size \$size$id $([ $id != 3 ] || echo --origin /dev/vdc)'
sync
`

// mapGuest prints the checksums of devices built from the tables.
const mapGuest = `
for id in 1 2 3 4; do
  dmsetup create x$id --readonly /put/table$id || die "table $id"
  echo "map $id $(sha256sum /dev/mapper/x$id | cut -d' ' -f1)"
done
`

// thin_export yields the same data as the kernel.
func TestKernelExport(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content []byte) string {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	noise := make([]byte, 5<<20+1536)
	for i := range noise {
		noise[i] = byte(i*i>>7 ^ i>>3)
	}
	meta, data, origin := write("meta", nil), write("data", nil), write("origin", noise)
	empty(t, meta, 8<<20)
	empty(t, data, 256<<20)
	vm := func(args ...string) map[string]string {
		t.Helper()
		r := run(t, runInVM, args...)
		if r.code != 0 {
			t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
		}
		sums := map[string]string{}
		for line := range strings.Lines(r.out) {
			if f := strings.Fields(line); len(f) == 3 && len(f[2]) == 2*sha256.Size {
				sums[f[0]+" "+f[1]] = f[2]
			}
		}
		return sums
	}
	disks := []string{"--disk", meta, "--disk", data, "--disk", origin}
	sums := vm(slices.Concat(disks, []string{"--put", filepath.Join(tools, "thin_tools"), write("guest", []byte(exportGuest))})...)
	if len(sums) != 12 {
		t.Fatalf("the guest printed %v", sums)
	}
	var tables []string
	seen := map[string]bool{}
	for id, sectors := range exportSizes {
		want := sums["kernel "+id]
		for _, how := range []string{"live", "down"} {
			if got := sums[how+" "+id]; got != want {
				t.Errorf("device %s, pool %s: the sum is %s, the kernel's %s", id, how, got, want)
			}
		}
		args := []string{"--metadata", meta, "--data", data, "--dev-id", id, "--size", fmt.Sprintf("%ds", sectors)}
		if id == "3" {
			args = append(args, "--origin", origin)
		}
		out := path("out" + id)
		ours(t, "thin_export", append(args, "--verify", "-o", out)...)
		if got := fmt.Sprintf("%x", sha256.Sum256(must(os.ReadFile(out)))); got != want {
			t.Errorf("device %s: the sum is %s, the kernel's %s", id, got, want)
		}
		table := ours(t, "thin_export", append(args, "--map", "dmsetup")...)
		table = strings.NewReplacer(data, "/dev/vdb", origin, "/dev/vdc").Replace(table)
		tables = append(tables, "--put", write("table"+id, []byte(table)))
		seen[want] = true
	}
	if len(seen) != len(exportSizes) {
		t.Errorf("some devices have the same content: %v", sums)
	}
	mapped := vm(slices.Concat(disks, tables, []string{write("guest", []byte(mapGuest))})...)
	for id := range exportSizes {
		if got, want := mapped["map "+id], sums["kernel "+id]; got != want {
			t.Errorf("device %s: the table's sum is %q, the kernel's %s", id, got, want)
		}
	}
}
