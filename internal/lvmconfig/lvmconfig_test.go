package lvmconfig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A copy of the test binary acts as a program with several tools, selected by the name it is called
// by.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "thin_check" {
		fmt.Println("0.9.0")
		os.Exit(len(os.Args) - 2)
	}
	os.Exit(m.Run())
}

// system returns a folder with substitutes for system programs.
func system(t *testing.T) (dir string, script func(name, text string) string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("for Linux: scripts")
	}
	dir = t.TempDir()
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	return dir, func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
}

const (
	ours  = "echo 1.0.0; [ \"$2\" != --verbose ] || echo thinpool, commit unknown\n"
	other = "[ $# = 1 ] || exit 1; echo 1.0.0\n" // with the same version
)

func TestPrograms(t *testing.T) {
	dir, script := system(t)
	check, repair := script("ours", ours), script("other", other)
	script("lvmconfig", `[ "$1 $2" = "--typeconfig full" ] || exit 9
case $3 in
global/thin_check_executable) echo 'thin_check_executable="`+check+`"' ;;
global/thin_repair_executable) echo 'thin_repair_executable="`+repair+`"' ;;
global/thin_dump_executable) echo 'thin_dump_executable="`+dir+`/none"' ;;
*) echo 'Configuration node not found' >&2; exit 5 ;;
esac
`)
	got, err := Programs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Program{
		{Tool: "thin_check", Path: check, Version: "1.0.0", Ours: true},
		{Tool: "thin_repair", Path: repair, Version: "1.0.0"},
		{Tool: "thin_dump", Path: dir + "/none", Absent: true},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
	script("lvmconfig", "echo 'thin_check_executable=[]'")
	if got, err := Programs(t.Context()); err == nil || !strings.Contains(err.Error(), "is not a path") {
		t.Errorf("a list was taken for a path: %+v, %v", got, err)
	}
}

func TestSection(t *testing.T) {
	_, script := system(t)
	for kind, want := range map[string]string{
		"exit 5": "\t# Newer LVM only: thin_restore_executable = \"/x/thin_restore\"\n}\n",
		"echo '# thin_restore_executable=\"/usr/sbin/thin_restore\"'": "\tthin_restore_executable = \"/x/thin_restore\"\n}\n",
	} {
		script("lvmconfig", kind)
		got := Section(t.Context(), "/x")
		if !strings.Contains(got, "global {\n\tthin_check_executable = \"/x/thin_check\"\n") || !strings.HasSuffix(got, want) {
			t.Errorf("%s:\n%s", kind, got)
		}
	}
}

func TestLinks(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "sbin", "thin_tools")
	libexec := filepath.Join(dir, "libexec", "thinpool")
	for _, folder := range []string{filepath.Dir(program), libexec} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(program, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := func(folder string) {
		for _, tool := range tools {
			if err := os.Symlink(program, filepath.Join(folder, tool)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := Links(program); err == nil {
		t.Errorf("links in %s, where there are none", got)
	}
	for _, folder := range []string{filepath.Dir(program), libexec} {
		link(folder)
		if got, err := Links(program); err != nil || got != folder {
			t.Errorf("links in %s (%v), want %s", got, err, folder)
		}
	}
	if err := os.Remove(filepath.Join(libexec, "thin_dump")); err != nil {
		t.Fatal(err)
	}
	if got, err := Links(program); err != nil || got != filepath.Dir(program) {
		t.Errorf("links in %s (%v), where one is absent", got, err)
	}
}

// The tree that acts as an initramfs has links that lead out of it if followed from outside.
func TestInImage(t *testing.T) {
	dir, script := system(t)
	script("unmkinitramfs", `cp -r "$1"/. "$2"`)
	script("lvmconfig", `case $LVM_SYSTEM_DIR in *main/etc/lvm) echo 'thin_check_executable="/usr/sbin/thin_check"' ;; *) exit 9 ;; esac`)
	image := filepath.Join(dir, "image")
	script("image/early/kernel/x86/microcode", "")
	if _, err := InImage(t.Context(), image); err == nil || !strings.Contains(err.Error(), ErrNoLVM.Error()) {
		t.Errorf("without LVM: %v", err)
	}
	script("image/main/usr/sbin/lvm", "")
	want := Program{Tool: "thin_check", Path: "/usr/sbin/thin_check", Absent: true}
	if got, err := InImage(t.Context(), image); err != nil || got != want {
		t.Errorf("without thin_check: %+v, %v", got, err)
	}
	script("image/main/opt/tools", ours)
	if err := os.Symlink("/opt/tools", filepath.Join(image, "main/usr/sbin/thin_check")); err != nil {
		t.Fatal(err)
	}
	want = Program{Tool: "thin_check", Path: "/usr/sbin/thin_check", Version: "1.0.0", Ours: true}
	if got, err := InImage(t.Context(), image); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	script("image/main/opt/tools", other)
	want.Ours = false
	if got, err := InImage(t.Context(), image); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(image, "main/opt/tools")), os.Link(self, filepath.Join(image, "main/opt/tools"))); err != nil {
		t.Skip(err) // another file system
	}
	want.Version = "0.9.0"
	if got, err := InImage(t.Context(), image); err != nil || got != want {
		t.Errorf("several tools in one: %+v, %v, want %+v", got, err, want)
	}
	if _, err := InImage(t.Context(), image+"2"); err == nil {
		t.Error("an absent image was looked into")
	}
}

func TestWithin(t *testing.T) {
	root := t.TempDir()
	for name, target := range map[string]string{"sbin": "usr/sbin", "up": "../../../etc", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"/sbin/x": "usr/sbin/x", "/up/passwd": "etc/passwd", "/loop": "loop", "/usr/../../x": "x",
	} {
		if got := within(root, path); got != filepath.Join(root, want) {
			t.Errorf("%s leads to %s, want %s", path, got, want)
		}
	}
}

func TestHead(t *testing.T) {
	var h head
	for range 3 {
		if n, err := h.Write(make([]byte, 40<<10)); n != 40<<10 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if h.Len() != 64<<10 {
		t.Errorf("%d bytes are kept", h.Len())
	}
}
