package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// migrateScript runs in the virtual machine. It copies thin devices of pools in use: first one of dmsetup
// with metadata and data on vda and vdb, then one of LVM. vdc is the destination.
const migrateScript = `
chmod 755 /put/thin_tools
ln -s /put/thin_tools /tmp/thin_migrate
migrate() { # migrate SOURCE ARG...: must succeed
  source=$1; shift
  /tmp/thin_migrate --source-dev $source "$@" 2>/tmp/err || { echo "FAILED: $source $*"; cat /tmp/err; exit 1; }
}
refuses() { # refuses WORDS SOURCE ARG...: must fail and say so
  words=$1 source=$2; shift 2
  /tmp/thin_migrate --source-dev $source "$@" 2>/tmp/err && { echo "FAILED: $source $* succeeds"; exit 1; }
  grep -qF -- "$words" /tmp/err || { echo "FAILED: $source $* does not say: $words"; cat /tmp/err; exit 1; }
}
same() { # same DEVICE COPY: as long as the device is
  want=$(sha256sum <$1) got=$(head -c $(blockdev --getsize64 $1) $2 | sha256sum)
  [ "$want" = "$got" ] || { echo "FAILED: $2 differs from $1"; cmp $1 $2; exit 1; }
}
mapped() { dmsetup status $1 | cut -d' ' -f4; } # sectors
mkro() { dmsetup remove t$1; dmsetup create --readonly t$1 --table "0 $2 thin /dev/mapper/pool $1 $3" || exit 1; }
N=81920 # sectors of a volume: 40 MiB

say "a pool of dmsetup"
mkpool /dev/vda /dev/vdb 128 || exit 1
mkthin 1 $N || exit 1
vmio rand /dev/mapper/t1 1 100 4096 || exit 1
dd if=/dev/urandom of=/dev/mapper/t1 bs=1M seek=3 count=6 conv=fsync 2>/dev/null
snap 2 1 $N || exit 1
refuses "the device is writable, so it may change" /dev/mapper/t2 --dest-file /tmp/copy
mkro 2 $N
refuses "not an active thin device" /dev/vdc --dest-file /tmp/copy
refuses "not an active thin device" /dev/mapper/pool --dest-file /tmp/copy
refuses "the pool pool has no metadata snapshot" /dev/mapper/t2 --dest-file /tmp/copy
[ ! -e /tmp/copy ] || exit 1
sed -n 's/^  \(dmsetup message .* reserve_metadata_snap\)$/\1/p' /tmp/err >/tmp/reserve
sed -n 's/^  \(dmsetup message .* release_metadata_snap\)$/\1/p' /tmp/err >/tmp/release
[ -s /tmp/reserve ] && [ -s /tmp/release ] || exit 1
sh -e /tmp/reserve || exit 1
refuses "is a part of the source" /dev/mapper/t2 --dest-dev /dev/vdb
refuses "is a part of the source" /dev/mapper/t2 --dest-dev /dev/mapper/t2

say "to a file"
echo old >/tmp/copy
migrate /dev/mapper/t2 --dest-file /tmp/copy --buffer-size-meg 64 -q
same /dev/mapper/t2 /tmp/copy
[ $(stat -c %s /tmp/copy) = $((N * 512)) ] || exit 1
[ $(($(stat -c '%b' /tmp/copy) * 1)) -le $(mapped t2) ] || { echo "FAILED: the file has no holes"; stat /tmp/copy; exit 1; }

say "to a disk that is full of something else"
yes garbage | dd of=/dev/vdc bs=1M count=41 iflag=fullblock conv=fsync 2>/dev/null
cp /dev/vdc /tmp/garbage
migrate /dev/mapper/t2 --dest-dev /dev/vdc --verify
same /dev/mapper/t2 /dev/vdc
[ "$(dd if=/tmp/garbage bs=1M skip=40 count=1 2>/dev/null | sha256sum)" = "$(dd if=/dev/vdc bs=1M skip=40 count=1 2>/dev/null | sha256sum)" ] || { echo "FAILED: wrote beyond the end"; exit 1; }

say "to thin devices, full of something else"
for to in 9 10; do
  mkthin $to $N || exit 1
  yes garbage | dd of=/dev/mapper/t$to bs=1M count=40 iflag=fullblock conv=fsync 2>/dev/null
done
[ $(mapped t9) = $N ] || exit 1
migrate /dev/mapper/t2 --dest-dev /dev/mapper/t9
same /dev/mapper/t2 /dev/mapper/t9
[ $(mapped t9) = $(mapped t2) ] || { echo "FAILED: $(mapped t9) sectors are mapped, want $(mapped t2)"; exit 1; }
migrate /dev/mapper/t2 --dest-dev /dev/mapper/t10 --zero-dest
same /dev/mapper/t2 /dev/mapper/t10
[ $(mapped t10) = $N ] || { echo "FAILED: --zero-dest discards"; exit 1; }
rmthin 10; msg "delete 10"

say "a metadata snapshot that is too old"
dd if=/dev/urandom of=/dev/mapper/t1 bs=64k seek=200 count=20 conv=fsync 2>/dev/null
vmio trim /dev/mapper/t1 5 30 65536 || exit 1
snap 3 1 $N || exit 1
mkro 3 $N
refuses "no such device in the metadata snapshot" /dev/mapper/t3 --dest-file /tmp/copy3
mkro 1 $N
refuses "the metadata snapshot is older than the last change of the device" /dev/mapper/t1 --dest-file /tmp/copy3
[ ! -e /tmp/copy3 ] || exit 1
sh -e /tmp/release && sh -e /tmp/reserve || exit 1

say "what changed"
yes garbage | dd of=/dev/vdd bs=1M count=41 iflag=fullblock conv=fsync 2>/dev/null
refuses "is not a copy of device 2" /dev/mapper/t3 --delta-id 2 --dest-dev /dev/vdd
migrate /dev/mapper/t3 --delta-id 2 --dest-dev /dev/vdc --verify
same /dev/mapper/t3 /dev/vdc
migrate /dev/mapper/t3 --delta-id 2 --dest-dev /dev/mapper/t9
same /dev/mapper/t3 /dev/mapper/t9
[ $(mapped t9) = $(mapped t3) ] || { echo "FAILED: $(mapped t9) sectors are mapped, want $(mapped t3)"; exit 1; }
migrate /dev/mapper/t3 --delta-id 2 --dest-file /tmp/copy
same /dev/mapper/t3 /tmp/copy
refuses "it is not known what it holds" /dev/mapper/t3 --delta-id 2 --dest-file /tmp/garbage

say "a destination that is full"
mkdir /tmp/small && mount -t tmpfs -o size=4m none /tmp/small || exit 1
refuses "run the same command with --resume to continue" /dev/mapper/t3 --dest-file /tmp/small/copy
mount -o remount,size=60m /tmp/small || exit 1
migrate /dev/mapper/t3 --dest-file /tmp/small/copy --resume --verify
same /dev/mapper/t3 /tmp/small/copy

say "an external origin"
msg "create_thin 4" && thin 4 $N /dev/vdc || exit 1
vmio rand /dev/mapper/t4 3 20 4096 || exit 1
mkro 4 $N /dev/vdc
sh -e /tmp/release && sh -e /tmp/reserve || exit 1
migrate /dev/mapper/t4 --dest-file /tmp/small/copy4
same /dev/mapper/t4 /tmp/small/copy4
sh -e /tmp/release || exit 1
rmall || exit 1

say "a pool of LVM"
umount /tmp/small; rm -f /tmp/copy* /tmp/garbage
dd if=/dev/zero of=/dev/vdb bs=1M count=1 2>/dev/null
{ pvcreate -q /dev/vdb && vgcreate -q -s 1m vg /dev/vdb &&
  lvcreate -q -y --type thin-pool -L 60m --poolmetadatasize 4m -c 64k -n pool vg &&
  lvcreate -q -y -V 40m --thinpool vg/pool -n v; } >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
dd if=/dev/urandom of=/dev/vg/v bs=1M count=5 conv=fsync 2>/dev/null
{ lvcreate -q -y -s -n s vg/v && lvchange --permission r vg/s && lvchange -ay -K vg/s; } >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
dd if=/dev/urandom of=/dev/vg/v bs=1M seek=2 count=5 conv=fsync 2>/dev/null
dmsetup message vg-pool-tpool 0 reserve_metadata_snap || exit 1
migrate /dev/vg/s --dest-file /tmp/copy --verify
same /dev/vg/s /tmp/copy
echo ALL PASSED
`

// TestKernelMigrate copies thin devices of pools in use, in a virtual machine.
func TestKernelMigrate(t *testing.T) {
	t.Parallel()
	needAllKernel(t, runInVM)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(migrateScript), 0o600); err != nil {
		t.Fatal(err)
	}
	var args []string
	for name, size := range map[string]int64{"a": 8 << 20, "b": 256 << 20, "c": 48 << 20, "d": 48 << 20} {
		empty(t, filepath.Join(dir, name), size)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		args = append(args, "--disk", filepath.Join(dir, name))
	}
	args = append(args, "--put", filepath.Join(tools, "thin_tools"), script)
	if r := run(t, runInVM, args...); r.code != 0 || !strings.Contains(r.out, "ALL PASSED") {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
}
