package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/fixtures"
)

// Tools that would write metadata over the output of the system's programs recognise it.
func TestOccupied(t *testing.T) {
	t.Parallel()
	dump := filepath.Join(t.TempDir(), "dump.xml")
	meta := filepath.Join(t.TempDir(), "meta")
	fixtures.Write(t, "layers", meta)
	if r := run(t, filepath.Join(tools, "thin_dump"), "-o", dump, meta); r.code != 0 {
		t.Fatal(r.stderr)
	}
	for name, tc := range map[string]struct {
		is      string
		command string // the last argument is the file
	}{
		"ext4":  {"an ext2, ext3 or ext4 file system", "mkfs.ext4 -q -F"},
		"ext2":  {"an ext2, ext3 or ext4 file system", "mkfs.ext2 -q -F"},
		"xfs":   {"an XFS file system", "mkfs.xfs -q -f"},
		"btrfs": {"a btrfs file system", "mkfs.btrfs -q -f"},
		"ntfs":  {"an NTFS file system", "mkfs.ntfs -q -F -s 512 -p 0 -H 16 -S 63"},
		"fat":   {"a FAT file system", "mkfs.vfat"},
		"exfat": {"an exFAT file system", "mkfs.exfat"},
		"f2fs":  {"an F2FS file system", "mkfs.f2fs -q -f"},
		"swap":  {"swap space", "mkswap -q"},
		"luks1": {"an encrypted volume (LUKS)", "cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 --key-file " + dump},
		"luks2": {"an encrypted volume (LUKS)", "cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file " + dump},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(tc.command)
			if _, err := exec.LookPath(args[0]); err != nil {
				t.Skipf("%s is not installed", args[0])
			}
			path := filepath.Join(t.TempDir(), "disk")
			empty(t, path, 320<<20)
			if out, err := exec.CommandContext(t.Context(), args[0], append(args[1:], path)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			before := head(t, path)
			r := run(t, filepath.Join(tools, "thin_restore"), "-i", dump, "-o", path)
			if r.code != 1 || !strings.Contains(r.stderr, path+": this is "+tc.is+": nothing was written. Use --force to overwrite it") {
				t.Errorf("exit code %d, %s", r.code, r.stderr)
			}
			if !bytes.Equal(head(t, path), before) {
				t.Error("the file has changed")
			}
			if r := run(t, filepath.Join(tools, "thin_restore"), "--force", "-i", dump, "-o", path); r.code != 0 {
				t.Errorf("exit code %d, %s", r.code, r.stderr)
			}
			if r := run(t, filepath.Join(tools, "thin_restore"), "-i", dump, "-o", path); r.code != 0 {
				t.Errorf("over metadata: exit code %d, %s", r.code, r.stderr)
			}
		})
	}
}

// head returns the part of a file that metadata would overwrite, and more.
func head(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 16<<20)
	if _, err := f.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// spareGuest lets LVM repair a pool onto a spare volume with the remains of a file system, and shows
// that we do not write to an ordinary volume with the same bytes.
const spareGuest = `
mkdir -p /usr/libexec/thinpool; cp /put/thin_tools /usr/sbin/; chmod 755 /usr/sbin/thin_tools
for t in thin_check thin_repair thin_dump thin_restore; do ln -s ../../sbin/thin_tools /usr/libexec/thinpool/$t; done
thin_tools lvm-config >>/etc/lvm/lvmlocal.conf
echo 'allocation { zero_metadata = 0 }' >>/etc/lvm/lvmlocal.conf
pvcreate -q /dev/vda && vgcreate -q -s 4m vg /dev/vda || die "no group"
lvcreate -q -y --type thin-pool -L 40m --poolmetadatasize 4m -n pool vg && lvcreate -q -y -V 20m --thinpool vg/pool -n v || die "no pool"
lvcreate -q -y -Zn -Wn -L 4m -n own vg || die "no volume"
vgchange -q -an vg
rm /usr/libexec/thinpool/thin_repair; cat >/usr/libexec/thinpool/thin_repair <<'EOF'
#!/bin/sh
for last; do :; done
[ "$(dd if=$last bs=1 skip=65600 count=8 2>/dev/null)" = _BHRfS_M ] || { echo "LVM has zeroed $last"; exit 1; }
exec /usr/sbin/thin_tools thin_repair "$@"
EOF
chmod 755 /usr/libexec/thinpool/thin_repair
lvconvert -q -y --repair vg/pool || die "repair"
lvchange -q -ay vg/v || die "activation"
vgchange -q -an vg
lvchange -q -ay vg/own
lvchange -q -y -ay vg/pool_tmeta
thin_tools thin_repair -i /dev/mapper/vg-pool_tmeta -o /dev/vg/own 2>/err && die "a volume was overwritten"
cat /err
`

// lvconvert --repair is never refused, with any old content on its spare volume.
func TestLVMKernelSpare(t *testing.T) {
	t.Parallel()
	needAllKernel(t, runInVM)
	dir := t.TempDir()
	disk, guest := filepath.Join(dir, "disk"), filepath.Join(dir, "guest")
	empty(t, disk, 160<<20)
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Each extent holds the remains of a btrfs. Its superblock is beyond the part that LVM zeroes.
	const extent, data = 4 << 20, 1 << 20
	for at := int64(data); at < 160<<20; at += extent {
		if _, err := f.WriteAt([]byte("_BHRfS_M"), at+0x10040); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(guest, []byte(spareGuest), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, runInVM, "--disk", disk, "--put", filepath.Join(tools, "thin_tools"), guest)
	const want = "/dev/vg/own: this is a btrfs file system: nothing was written. Use --force to overwrite it\n"
	if r.code != 0 || !strings.HasSuffix(r.out, want) {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
}
