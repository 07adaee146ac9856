package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// liveScript reads a pool in use in the virtual machine, with exactly the command lines that the
// tools advise. meta and data are its devices, $1 is the pool's name.
const liveScript = `
T=/tmp/tools
mkdir $T
chmod 755 /put/thin_tools
for tool in TOOLS; do ln -s /put/thin_tools $T/$tool; done
says() { # says WORDS TOOL...: the tool must fail and say so
  words=$1; shift
  $T/"$@" >/tmp/out 2>/tmp/err && { echo "FAILED: $* succeeds"; exit 1; }
  grep -qF -- "$words" /tmp/err || { echo "FAILED: $* does not say: $words"; cat /tmp/err; exit 1; }
}
does() { # does TOOL...: the tool must succeed without a word of complaint
  $T/"$@" >/tmp/out 2>/tmp/err && [ ! -s /tmp/err ] || { echo "FAILED: $*"; cat /tmp/err; exit 1; }
}
live() { # live META DATA POOL DATAPATH METAPATH: the last two as they are called in messages
  meta=$1 data=$2 pool=$3
  for line in "thin_check $meta" "thin_dump $meta" "thin_ls $meta" "thin_rmap --region 0..-1 $meta" "thin_delta --thin1 1 --thin2 1 $meta" \
    "thin_stat $meta" "thin_scan $meta" "thin_metadata_pack -i $meta -o /tmp/pack" "thin_metadata_size --from $meta"; do
    says "in use by the pool $pool. Deactivate it, or read a metadata snapshot" $line
    says "dmsetup message $pool 0 reserve_metadata_snap" $line
  done
  says "in use by the pool $pool. Deactivate the pool first" thin_check --auto-repair $meta
  says "in use by the pool $pool. Deactivate the pool first" thin_repair -i $meta -o /tmp/new
  says "in use by the pool $pool. Deactivate the pool first" thin_restore -i /tmp/xml -o $meta
  says "in use by the pool $pool. Deactivate the pool first" thin_trim --dry-run --metadata-dev $meta
  says "The pool also uses $5" thin_check $data
  says "the pool has no metadata snapshot; reserve one" thin_dump -m $meta

  # The lines that were printed, and no others.
  $T/thin_check $meta 2>/tmp/advice && exit 1
  sed -n 's/^  \(dmsetup message .* reserve_metadata_snap\)$/\1/p' /tmp/advice >/tmp/reserve
  sed -n 's/^  \(dmsetup message .* release_metadata_snap\)$/\1/p' /tmp/advice >/tmp/release
  [ -s /tmp/reserve ] && [ -s /tmp/release ] || { cat /tmp/advice; exit 1; }
  sh -e /tmp/reserve || exit 1
  $T/thin_check $meta 2>/tmp/advice && exit 1
  held=$(dmsetup status $pool | cut -d' ' -f7)
  grep -qF "in use by the pool $pool, which has a metadata snapshot in block $held. Read the snapshot with -m" /tmp/advice || { cat /tmp/advice; exit 1; }
  does thin_check -m $meta
  does thin_dump -m $meta
  grep -q "dev_id=\"1\"" /tmp/out || { echo "FAILED: no device in the dump"; exit 1; }
  does thin_dump $meta --metadata-snap $held
  does thin_ls -m $meta
  does thin_rmap -m --region 0..-1 $meta
  does thin_delta -m --thin1 1 --thin2 1 $meta
  does thin_stat -m --op devices $meta
  does thin_scan -m $meta
  does thin_metadata_size --from $meta --metadata-snap
  does thin_dump -m -o /tmp/1 $meta
  does thin_metadata_pack -m -i $meta -o /tmp/pack -f
  does thin_dump -m -o /tmp/2 /tmp/pack
  cmp /tmp/1 /tmp/2 || exit 1
  sh -e /tmp/release || exit 1
  [ "$(dmsetup status $pool | cut -d' ' -f7)" = - ] || { dmsetup status $pool; exit 1; }
  says "the pool has no metadata snapshot; reserve one" thin_ls -m $meta
}
echo '<superblock uuid="" time="0" transaction="0" version="2" data_block_size="128" nr_data_blocks="10"></superblock>' >/tmp/xml
truncate -s 4M /tmp/new

say "a pool of dmsetup"
mkpool /dev/vda /dev/vdb 128 || exit 1
mkthin 1 204800 || exit 1
vmio rand /dev/mapper/t1 1 50 4096 || exit 1
live /dev/vda /dev/vdb pool /dev/vdb /dev/vda
rmall || exit 1
does thin_check /dev/vda
says "no pool uses it now" thin_dump -m /dev/vda

say "a pool of LVM"
dd if=/dev/zero of=/dev/vda bs=1M count=1 2>/dev/null
{ pvcreate -q /dev/vdb && vgcreate -q -s 1m vg /dev/vdb &&
  lvcreate -q -y --type thin-pool -L 40m --poolmetadatasize 4m -c 64k -n pool vg &&
  lvcreate -q -y -V 60m --thinpool vg/pool -n v; } >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
dd if=/dev/urandom of=/dev/vg/v bs=1M count=5 2>/dev/null; sync
live /dev/mapper/vg-pool_tmeta /dev/mapper/vg-pool_tdata vg-pool-tpool /dev/mapper/vg-pool_tdata /dev/mapper/vg-pool_tmeta
says "this is an LVM physical volume" thin_check /dev/vdb
echo ALL PASSED
`

// TestKernelLive reads pools in use, under dmsetup and LVM, in a virtual machine.
func TestKernelLive(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	dir := t.TempDir()
	script, meta, data := filepath.Join(dir, "script"), filepath.Join(dir, "meta"), filepath.Join(dir, "data")
	var names []string
	for _, e := range must(os.ReadDir(tools)) {
		if e.Name() != "thin_tools" {
			names = append(names, e.Name())
		}
	}
	text := strings.Replace(liveScript, "TOOLS", strings.Join(names, " "), 1)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	empty(t, meta, 8<<20)
	empty(t, data, 128<<20)
	// One binary for all: separate ones would fill the machine's memory.
	args := []string{"--disk", meta, "--disk", data, "--put", filepath.Join(tools, "thin_tools"), script}
	if r := run(t, runInVM, args...); r.code != 0 || !strings.Contains(r.out, "ALL PASSED") {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
}
