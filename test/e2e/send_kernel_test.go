package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sendScript runs in the virtual machine. It sends a pool that the kernel changes to another one: first all
// of it, then three increments. vda and vdb are the pool; vdd is the data of the copy, and vdc and vde take
// turns as its metadata.
const sendScript = `
mkdir /tmp/tools
chmod 755 /put/thin_tools
for tool in thin_send thin_receive thin_ls thin_check; do ln -s /put/thin_tools /tmp/tools/$tool; done
does() { # does TOOL ARG...: must succeed
  /tmp/tools/"$@" 2>/tmp/err || { echo "FAILED: $*"; cat /tmp/err; exit 1; }
}
N=131072 # sectors of a volume: 64 MiB
ids() { does thin_ls --no-headers -o DEV $1; }
sums() { # sums META DATA: of all devices, as the kernel reads them
  mkpool $1 $2 128 || exit 1
  for id in $IDS; do
    dmsetup create --readonly t$id --table "0 $N thin /dev/mapper/pool $id" || exit 1
    echo "$id $(sha256sum </dev/mapper/t$id)"
  done
  rmall || exit 1
}
compare() { # compare META: the copy with the pool
  does thin_check -q --strict $1
  does thin_ls -o DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,TRANSACTION,CREATE_TIME,SNAP_TIME /dev/vda >/tmp/ls
  does thin_ls -o DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,TRANSACTION,CREATE_TIME,SNAP_TIME $1 >/tmp/ls2
  cmp /tmp/ls /tmp/ls2 || { cat /tmp/ls /tmp/ls2; exit 1; }
  IDS=$(ids /dev/vda)
  sums /dev/vda /dev/vdb >/tmp/sums
  sums $1 /dev/vdd >/tmp/sums2
  [ $(wc -l </tmp/sums) = $2 ] && cmp /tmp/sums /tmp/sums2 || { echo "FAILED: want $2 devices:"; cat /tmp/sums /tmp/sums2; exit 1; }
}
size() { stat -c %s /tmp/$1.tps; }
wake() { mkpool /dev/vda /dev/vdb 128 || exit 1; for id; do thin $id $N || exit 1; done; }
sleep_() { used=$(dmsetup status pool | cut -d' ' -f6); rmall || exit 1; }

say "all"
wake
mkthin 1 $N && mkthin 2 $N || exit 1
dd if=/dev/urandom of=/dev/mapper/t1 bs=1M seek=4 count=12 conv=fsync 2>/dev/null
vmio rand /dev/mapper/t1 1 40 4096 || exit 1
vmio rand /dev/mapper/t2 2 60 8192 || exit 1
snap 3 1 && snap 4 3 || exit 1
vmio rand /dev/mapper/t1 3 40 4096 || exit 1
snap 11 1 && snap 12 2 || exit 1
sleep_
before=$(sha256sum </dev/vda; sha256sum </dev/vdb)
does thin_send --metadata /dev/vda --data /dev/vdb --compress none --index /tmp/1.idx -o /tmp/1.tps
[ "$before" = "$(sha256sum </dev/vda; sha256sum </dev/vdb)" ] || { echo "FAILED: thin_send has written"; exit 1; }
blocks=${used%/*}
echo "all: $blocks blocks are used, $((blocks * 65536)) bytes; the stream has $(size 1)"
[ $(($(size 1) * 100)) -le $((blocks * 65536 * 105)) ] || exit 1
does thin_receive -i /tmp/1.tps --metadata /dev/vdc --data /dev/vdd
compare /dev/vdc 6

say "writes, discards, new and deleted devices"
wake 1 2 4
dd if=/dev/urandom of=/dev/mapper/t1 bs=64k seek=100 count=16 conv=fsync 2>/dev/null
vmio rand /dev/mapper/t2 4 20 4096 || exit 1
vmio rand /dev/mapper/t4 5 20 4096 || exit 1
vmio trim /dev/mapper/t1 6 40 65536 || exit 1
vmio trim /dev/mapper/t2 7 40 65536 || exit 1
msg "delete 3" && msg "delete 11" || exit 1
mkthin 5 $N || exit 1
dd if=/dev/urandom of=/dev/mapper/t5 bs=64k seek=9 count=7 conv=fsync 2>/dev/null
snap 21 1 && snap 22 2 && snap 24 4 && snap 25 5 || exit 1
sleep_
does thin_send --metadata /dev/vda --data /dev/vdb --compress none --since /tmp/1.idx --index /tmp/2.idx -o /tmp/2.tps
echo "increment: ${used%/*} blocks are used; the stream has $(size 2)"
[ $(($(size 2) * 2)) -lt $((${used%/*} * 65536)) ] || exit 1
does thin_receive -i /tmp/2.tps --onto /dev/vdc --metadata /dev/vde --data /dev/vdd
compare /dev/vde 9

say "an increment of little"
wake 1
dd if=/dev/urandom of=/dev/mapper/t1 bs=64k seek=30 count=3 conv=fsync 2>/dev/null
snap 31 1 || exit 1
sleep_
does thin_send --metadata /dev/vda --data /dev/vdb --compress none --since /tmp/2.idx --index /tmp/3.idx -o /tmp/3.tps
echo "increment: 3 blocks were written; the stream has $(size 3)"
[ $(size 3) -lt $((5 * 65536)) ] || exit 1
does thin_receive -i /tmp/3.tps --onto /dev/vde --metadata /dev/vdc --data /dev/vdd
compare /dev/vdc 10

say "an increment of another base is refused, and does nothing"
before=$(sha256sum </dev/vdc; sha256sum </dev/vdd; sha256sum </dev/vde)
/tmp/tools/thin_receive -i /tmp/2.tps --onto /dev/vdc --metadata /dev/vde --data /dev/vdd 2>/tmp/err && exit 1
grep -q "not in the state that the increment builds on" /tmp/err || { cat /tmp/err; exit 1; }
[ "$before" = "$(sha256sum </dev/vdc; sha256sum </dev/vdd; sha256sum </dev/vde)" ] || exit 1

say "a pool in use, of its metadata snapshot"
wake 1
msg reserve_metadata_snap
does thin_send -m --dev-id 21 --dev-id 25 --metadata /dev/vda --data /dev/vdb -o /tmp/4.tps
vmio rand /dev/mapper/t1 9 20 4096 || exit 1
msg release_metadata_snap
for id in 21 25; do thin $id $N && sha256sum </dev/mapper/t$id || exit 1; done >/tmp/sums
rmall || exit 1
does thin_receive -i /tmp/4.tps --metadata /dev/vdc --data /dev/vdd
mkpool /dev/vdc /dev/vdd 128 || exit 1
for id in 21 25; do thin $id $N && sha256sum </dev/mapper/t$id || exit 1; done >/tmp/sums2
cmp /tmp/sums /tmp/sums2 || exit 1
rmall || exit 1
echo ALL PASSED
`

// TestKernelSend sends and receives a pool that the kernel changes, in a virtual machine.
func TestKernelSend(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(sendScript), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--mem", "1536"}
	for i, size := range []int64{8 << 20, 256 << 20, 8 << 20, 256 << 20, 8 << 20} {
		disk := filepath.Join(dir, string('a'+rune(i)))
		empty(t, disk, size)
		args = append(args, "--disk", disk)
	}
	args = append(args, "--put", filepath.Join(tools, "thin_tools"), script)
	r := run(t, runInVM, args...)
	if r.code != 0 || !strings.Contains(r.out, "ALL PASSED") {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	t.Log(r.out)
}
