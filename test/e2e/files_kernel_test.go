package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// changedScript runs in the virtual machine. It compares the output of thin_files for two snapshots with the
// content of all files in both, as the kernel reads them. vdb is the disk of LVM.
const changedScript = `
chmod 755 /put/thin_tools
ln -s /put/thin_tools /tmp/thin_files
{ pvcreate -q /dev/vdb && vgcreate -q -s 1m vg /dev/vdb &&
  lvcreate -q -y --type thin-pool -L 290m --poolmetadatasize 4m -c 64k -n pool vg &&
  lvcreate -q -y -V 320m --thinpool vg/pool -n v; } >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
mkdir /mnt1 /mnt2
files() { # files MOUNTED: sum and path of all files that have content
  (cd $1 && find . -type f -size +0 -exec sha256sum {} + | sed 's# \./#/#;s#  /# /#' | sort)
}
round() { # round MKFS TYPE OPTIONS
  mkfs=$1 type=$2 options=$3
  $mkfs /dev/vg/v >/tmp/mkfs 2>&1 && mount -t $type /dev/vg/v /mnt1 || { cat /tmp/mkfs; exit 1; }
  for d in 1 2 3 4; do
    mkdir -p /mnt1/dir$d/below
    for f in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
      dd if=/dev/urandom of=/mnt1/dir$d/f$f bs=4k count=$((f * d)) 2>/dev/null
      dd if=/dev/urandom of=/mnt1/dir$d/below/g$f bs=1k count=$f 2>/dev/null
    done
  done
  mkdir /mnt1/same
  for f in 1 2 3 4; do dd if=/dev/urandom of=/mnt1/same/$f bs=1M count=3 2>/dev/null; done
  umount /mnt1 || exit 1
  lvcreate -q -y -s -n monday vg/v >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
  mount -t $type /dev/vg/v /mnt1 || exit 1
  dd if=/dev/urandom of=/mnt1/dir1/f5 bs=4k seek=2 count=1 conv=notrunc 2>/dev/null
  dd if=/dev/urandom of=/mnt1/dir4/f15 bs=4k seek=40 count=2 conv=notrunc 2>/dev/null
  dd if=/dev/urandom of=/mnt1/same/2 bs=4k seek=200 count=1 conv=notrunc 2>/dev/null
  echo more >>/mnt1/dir2/below/g7
  dd if=/dev/urandom bs=4k count=9 2>/dev/null >>/mnt1/dir3/f3
  echo other >/mnt1/dir3/f4
  rm /mnt1/dir2/f1 /mnt1/dir2/f2
  mv /mnt1/dir4/f14 /mnt1/dir4/moved
  dd if=/dev/urandom of=/mnt1/dir4/f14 bs=4k count=3 2>/dev/null
  for f in 1 2 3 4 5; do dd if=/dev/urandom of=/mnt1/dir1/new$f bs=4k count=$f 2>/dev/null; done
  umount /mnt1 || exit 1
  lvcreate -q -y -s -n friday vg/v >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
  lvchange -q -ay -K vg/monday && lvchange -q -ay -K vg/friday || exit 1
  mount -t $type -o $options /dev/vg/monday /mnt1 && mount -t $type -o $options /dev/vg/friday /mnt2 || exit 1
  files /mnt1 >/tmp/old
  files /mnt2 >/tmp/new
  umount /mnt1 && umount /mnt2 || exit 1
  # What has another content, or is new, but not what only has another name.
  cut -d' ' -f1 /tmp/old | sort >/tmp/oldsums
  grep -v -F -x -f /tmp/old /tmp/new | grep -v -F -f /tmp/oldsums | cut -d' ' -f2 | sort >/tmp/changed
  lvchange -q -an vg >/tmp/lvm 2>&1 || vgchange -q -an vg >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
  /tmp/thin_files --lv vg/friday --changed-since vg/monday --format json /dev/vdb >/tmp/json 2>/tmp/err || { echo FAILED; cat /tmp/err; tail -3 /tmp/json; exit 1; }
  grep '"kind":"data"' /tmp/json | sed -n 's/.*"path":"\([^"]*\)".*/\1/p' | sed 's/^/\//' | sort -u >/tmp/found
  [ $(wc -l </tmp/changed) = 12 ] || { echo "FAILED: the kernel sees other changes:"; cat /tmp/changed; exit 1; }
  grep -v -F -x -f /tmp/found /tmp/changed && { echo "FAILED: changed, and not found"; exit 1; }
  # What lies in the same blocks of the pool is found, too: of large files that are the same, their ends.
  for f in 1 3 4; do
    n=$(grep '"kind":"data"' /tmp/json | grep "\"path\":\"same/$f\"" | sed -n 's/.*"length":\([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }')
    [ $n -le 262144 ] || { echo "FAILED: $n bytes of same/$f are found, and none changed"; exit 1; }
  done
  echo "$mkfs: $(wc -l </tmp/new) files, $(wc -l </tmp/changed) changed, $(wc -l </tmp/found) found"
  vgchange -q -ay vg >/tmp/lvm 2>&1 && lvremove -q -y vg/monday vg/friday >/tmp/lvm 2>&1 || { cat /tmp/lvm; exit 1; }
}
round "mkfs.ext4 -q -F" ext4 ro,noload
round "mkfs.xfs -q -f" xfs ro,norecovery,nouuid
echo ALL PASSED
`

// TestKernelChangedFiles finds the files that changed between two snapshots, and checks against the kernel in
// a virtual machine that none are missing.
func TestKernelChangedFiles(t *testing.T) {
	t.Parallel()
	needAllKernel(t, runInVM)
	dir := t.TempDir()
	script, spare, disk := filepath.Join(dir, "script"), filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(script, []byte(changedScript), 0o600); err != nil {
		t.Fatal(err)
	}
	empty(t, spare, 1<<20)
	empty(t, disk, 360<<20)
	r := run(t, runInVM, "--disk", spare, "--disk", disk, "--put", filepath.Join(tools, "thin_tools"), script)
	if r.code != 0 || !strings.Contains(r.out, "ALL PASSED") {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	t.Log(r.out)
}
