package lvmconfig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unpackers are programs that unpack an image into the current folder.
var unpackers = []struct {
	program string
	args    []string // before the image
	after   []string
}{
	{"unmkinitramfs", nil, []string{"."}},
	{"lsinitrd", []string{"--unpack"}, nil},
	{"lsinitcpio", []string{"-x"}, nil},
}

// Image returns the path of the running kernel's initramfs; "" if there is none in boot.
func Image(boot string) string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	for _, format := range []string{"initrd.img-%s", "initramfs-%s.img", "initrd-%s"} {
		path := filepath.Join(boot, fmt.Sprintf(format, strings.TrimSpace(string(release))))
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// ErrNoLVM means that an initramfs does not contain LVM, so it runs nothing.
var ErrNoLVM = errors.New("there is no LVM in it")

// InImage returns what LVM in an initramfs runs as thin_check. It unpacks the image into a
// temporary folder.
func InImage(ctx context.Context, image string) (Program, error) {
	dir, err := os.MkdirTemp("", "thinpool-initramfs-")
	if err != nil {
		return Program{}, err
	}
	defer os.RemoveAll(dir)
	image, err = filepath.Abs(image)
	if err == nil {
		err = unpack(ctx, image, dir)
	}
	if err != nil {
		return Program{}, err
	}
	root, err := rootOf(dir)
	if err != nil {
		return Program{}, fmt.Errorf("%s: %w", image, err)
	}
	const tool = "thin_check"
	path, err := ask(ctx, filepath.Join(root, "etc", "lvm"), "full", tool)
	if err != nil {
		return Program{}, err
	}
	return identify(ctx, tool, path, within(root, path)), nil
}

func unpack(ctx context.Context, image, dir string) error {
	if _, err := os.Stat(image); err != nil {
		return err
	}
	var names []string
	for _, u := range unpackers {
		names = append(names, u.program)
		program, err := find(u.program)
		if err != nil {
			continue
		}
		args := append(append(u.args[:len(u.args):len(u.args)], image), u.after...)
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = dir
		var said head
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s: %w: %.500s", u.program, image, err, strings.TrimSpace(said.String()))
		}
		return nil
	}
	return fmt.Errorf("cannot look into %s: none of %s is installed", image, strings.Join(names, ", "))
}

// rootOf finds the root of the system in an unpacked image. With microcode, it is a subfolder.
func rootOf(dir string) (string, error) {
	for _, part := range []string{".", "main*"} {
		for _, lvm := range []string{"usr/sbin/lvm", "usr/bin/lvm", "sbin/lvm", "bin/lvm"} {
			found, err := filepath.Glob(filepath.Join(dir, part, lvm))
			if err == nil && len(found) > 0 {
				return strings.TrimSuffix(found[0], "/"+lvm), nil
			}
		}
	}
	return "", ErrNoLVM
}

// within resolves path for a process whose root is root.
func within(root, path string) string {
	const mostLinks = 40
	parts, at := strings.Split(filepath.Clean(path), "/"), "/"
	for links := 0; len(parts) > 0; {
		next := filepath.Join(at, parts[0])
		parts = parts[1:]
		target, err := os.Readlink(filepath.Join(root, next))
		if links++; err != nil || links > mostLinks {
			at = next
			continue
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		parts = append(strings.Split(target, "/"), parts...)
	}
	return filepath.Join(root, at)
}
