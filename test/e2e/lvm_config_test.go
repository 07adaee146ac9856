package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// lvmConfigGuest installs the tools like a package, makes LVM run them, and removes them. LVM's log
// shows what runs.
const lvmConfigGuest = `
mkdir -p /usr/libexec/thinpool; cp /put/thin_tools /usr/sbin/; chmod 755 /usr/sbin/thin_tools
for t in thin_check thin_repair thin_dump thin_restore; do ln -s ../../sbin/thin_tools /usr/libexec/thinpool/$t; done
cp /etc/lvm/lvmlocal.conf /before
ran() { grep -q "\(Executing\|Piping\): $1 *\(-q \|-i \)*/dev/mapper/" /log || { grep -o '\(Executing\|Piping\):.*' /log; die "$1 did not run"; }; }
thin_tools lvm-config --check && die "LVM runs these tools from the beginning"
thin_tools lvm-config >/section || die "lvm-config"
cat /section >>/etc/lvm/lvmlocal.conf
thin_tools lvm-config --check || die "LVM does not run these tools"
pvcreate -q /dev/vda && vgcreate -q -s 1m vg /dev/vda || die "no group"
lvcreate -q -y --type thin-pool -L 40m --poolmetadatasize 4m -n pool vg && lvcreate -q -y -V 20m --thinpool vg/pool -n v || die "no pool"
vgchange -q -an vg
lvchange -vvvv -ay vg/v >/log 2>&1 || die "activation"
ran /usr/libexec/thinpool/thin_check
vgchange -q -an vg
lvconvert -vvvv -y --repair vg/pool >/log 2>&1 || die "repair"
ran /usr/libexec/thinpool/thin_repair
ran /usr/libexec/thinpool/thin_dump
cp /before /etc/lvm/lvmlocal.conf; rm -r /usr/libexec/thinpool /usr/sbin/thin_tools
lvchange -vvvv -ay vg/v >/log 2>&1 || die "activation by the other"
ran /usr/sbin/thin_check
echo "all of it"
`

// LVM runs the tools from thin_tools lvm-config, and the others after that is undone.
func TestLVMKernelConfig(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	dir := t.TempDir()
	disk, guest := filepath.Join(dir, "disk"), filepath.Join(dir, "guest")
	empty(t, disk, 160<<20)
	if err := os.WriteFile(guest, []byte(lvmConfigGuest), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, runInVM, "--disk", disk, "--put", filepath.Join(tools, "thin_tools"), guest)
	if r.code != 0 || !strings.HasSuffix(r.out, "all of it\n") {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
}
