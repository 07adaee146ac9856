package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"thinpool/metadata/block"
)

// bootDisk runs in the virtual machine that makes the disk: a root file system on a thin volume. Its only
// program reports that it runs.
const bootDisk = `
pvcreate -q /dev/vda && vgcreate -q -s 1m vg /dev/vda || die "no group"
lvcreate -q -y --type thin-pool -L 40m --poolmetadatasize 4m -n pool vg && lvcreate -q -y -V 32m --thinpool vg/pool -n root || die "no pool"
mkdir -p /mnt && mkfs.ext4 -q /dev/mapper/vg-root && mount /dev/mapper/vg-root /mnt || die "no file system"
mkdir /mnt/bin /mnt/sbin /mnt/dev /mnt/proc /mnt/sys /mnt/run /mnt/tmp
cp /bin/busybox /mnt/bin/
cat >/mnt/sbin/init <<'END'
#!/bin/busybox sh
busybox grep ' / ' /proc/mounts
echo "the root file system is up"
busybox poweroff -f
END
chmod 755 /mnt/sbin/init
umount /mnt && vgchange -q -an vg || die "still active"
`

// bootInitramfs runs in a Debian. It installs the package, tells LVM to use its tools, and builds the
// initramfs. Only our thin_check has --strict: with another one, the pool would not come up.
const bootInitramfs = `set -e
dpkg --no-triggers -i /tmp/thinpool.deb
thin_tools lvm-config >>/etc/lvm/lvmlocal.conf
echo 'global { thin_check_options = [ "-q", "--strict" ] }' >>/etc/lvm/lvmlocal.conf
mkinitramfs -o /boot/initrd "$(ls /lib/modules)"
`

// bootRepair lists the lines to type at the prompts of the initramfs shell.
var bootRepair = []string{
	"lvm vgchange -an vg",
	"lvm lvchange -y -ay vg/pool_tmeta",
	"thin_check /dev/mapper/vg-pool_tmeta",
	"echo check $?",
	"lvm lvchange -an vg/pool_tmeta",
	"lvm lvconvert -y --repair vg/pool",
	"echo repair $?",
	"lvm vgchange -ay vg",
	"exit",
}

// Debian boots from a thin volume with the tools of our package in its initramfs. If the metadata is damaged,
// the boot stops in the shell of the initramfs, and these tools repair it there.
func TestKernelBoot(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	if !sampled("boot") {
		t.Skip("THINPOOL_KERNEL=all boots a Debian")
	}
	dir := t.TempDir()
	debian := bootDebian(t, filepath.Join(dir, "debian"))
	disk, guest := filepath.Join(dir, "disk"), filepath.Join(dir, "guest")
	empty(t, disk, 100<<20)
	if err := os.WriteFile(guest, []byte(bootDisk), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, runInVM, "--disk", disk, guest); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	up := func(what string) {
		t.Helper()
		c := boot(t, debian, disk)
		seen := c.until("the root file system is up", "(initramfs)")
		if !strings.Contains(seen, "/dev/mapper/vg-root / ext4") {
			t.Fatalf("%s:\n%s", what, seen)
		}
		c.end()
	}
	up("sound metadata")

	damageRoot(t, disk)
	c := boot(t, debian, disk)
	if seen := c.until("(initramfs)", "the root file system is up"); strings.Contains(seen, "file system is up") {
		t.Fatalf("damaged metadata were taken:\n%s", seen)
	}
	var typed strings.Builder
	for _, line := range bootRepair {
		c.line(line)
		typed.WriteString(c.until("(initramfs)", "the root file system is up"))
	}
	if seen := typed.String(); !strings.Contains(seen, "check 1\r\n") || !strings.Contains(seen, "repair 0\r\n") || !strings.Contains(seen, "the root file system is up") {
		t.Fatalf("repair in the initramfs:\n%s", seen)
	}
	c.end()
	up("repaired metadata")
}

// bootDebian returns a Debian in dir with our package in its initramfs. It caches debootstrap's output.
func bootDebian(t *testing.T, dir string) string {
	t.Helper()
	for _, program := range []string{"debootstrap", "dpkg", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("debootstrap needs root")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	made := filepath.Join(cache, "thinpool-accept", "bookworm")
	if _, err := os.Stat(made); err != nil {
		making := made + ".making"
		if err := os.RemoveAll(making); err != nil {
			t.Fatal(err)
		}
		r := run(t, "debootstrap", "--variant=minbase",
			"--include=linux-image-cloud-amd64,initramfs-tools,lvm2,thin-provisioning-tools,busybox,udev", "bookworm", making)
		if r.code != 0 {
			t.Skipf("debootstrap: exit code %d\n%s%s", r.code, r.out, r.stderr)
		}
		if err := os.Rename(making, made); err != nil {
			t.Fatal(err)
		}
	}
	packages := t.TempDir()
	for _, step := range [][]string{
		{"cp", "-a", made, dir},
		{filepath.Join("..", "..", "packaging", "build"), packages, "amd64"},
	} {
		if r := run(t, step[0], step[1:]...); r.code != 0 {
			t.Fatalf("%q: exit code %d\n%s%s", step, r.code, r.out, r.stderr)
		}
	}
	deb := must(filepath.Glob(filepath.Join(packages, "thinpool_*_amd64.deb")))[0]
	if err := os.WriteFile(filepath.Join(dir, "tmp", "thinpool.deb"), must(os.ReadFile(deb)), 0o600); err != nil {
		t.Fatal(err)
	}
	inDebian := `mount -t proc proc "$0/proc" && exec chroot "$0" sh -c "$1"`
	if r := run(t, "unshare", "--mount", "sh", "-c", inDebian, dir, bootInitramfs); r.code != 0 {
		t.Fatalf("initramfs: exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	return dir
}

// damageRoot clears the root of the mapping tree of the only pool on a disk.
func damageRoot(t *testing.T, disk string) {
	t.Helper()
	const magic, magicAt, rootAt = 27022010, 32, 320
	content := must(os.ReadFile(disk))
	for at := 0; at+block.Size <= len(content); at += block.Size {
		if binary.LittleEndian.Uint64(content[at+magicAt:]) != magic {
			continue
		}
		root := int(binary.LittleEndian.Uint64(content[at+rootAt:]))
		clear(content[at+root*block.Size:][:block.Size])
		if err := os.WriteFile(disk, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("there is no thin metadata on the disk")
}

// A console is a machine with a serial console.
type console struct {
	t     *testing.T
	cmd   *exec.Cmd
	input io.Writer

	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // text has grown
}

// boot starts the kernel with the initramfs of debian.
func boot(t *testing.T, debian, disk string) *console {
	t.Helper()
	kernel := must(filepath.Glob(filepath.Join(debian, "boot", "vmlinuz-*")))[0]
	c := &console{t: t, more: make(chan struct{}, 1)}
	c.cmd = exec.CommandContext(t.Context(), "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none",
		"-no-reboot", "-m", "512", "-cpu", "max", "-accel", "tcg", "-kernel", kernel, "-initrd", filepath.Join(debian, "boot", "initrd"),
		"-append", "root=/dev/mapper/vg-root ro console=ttyS0 quiet cryptomgr.notests no_timer_check mitigations=off random.trust_cpu=on",
		"-drive", "if=virtio,format=raw,file="+disk, "-serial", "stdio")
	c.cmd.Stdout = c
	c.input = must(c.cmd.StdinPipe())
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *console) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
	return c.text.Write(text)
}

// until returns the machine's output up to the first of some words, and consumes it.
func (c *console) until(words ...string) string {
	c.t.Helper()
	limit := time.After(5 * time.Minute) // in case the machine hangs
	for {
		c.mu.Lock()
		text, end := c.text.String(), -1
		for _, word := range words {
			if i := strings.Index(text, word); i >= 0 && (end < 0 || i+len(word) < end) {
				end = i + len(word)
			}
		}
		if end >= 0 {
			c.text.Next(end)
			c.mu.Unlock()
			return text[:end]
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-limit:
			c.t.Fatalf("the machine never wrote any of %q, but:\n%s", words, text)
		}
	}
}

// line types a line.
func (c *console) line(text string) {
	if _, err := io.WriteString(c.input, text+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// end waits until the machine has powered off.
func (c *console) end() {
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatal(err)
	}
}
