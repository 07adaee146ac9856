package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thinpool/disk"
)

// basedOn returns an empty image of size bytes with a backing file, whose format may be empty.
func basedOn(name, format string, size int) []byte {
	be := binary.BigEndian
	img := make([]byte, 3*cluster)
	copy(img, "QFI\xfb")
	be.PutUint32(img[4:], 3)
	be.PutUint32(img[20:], 12)
	be.PutUint64(img[24:], uint64(size))
	be.PutUint32(img[36:], 1)
	be.PutUint64(img[40:], cluster)
	be.PutUint32(img[100:], 104)
	at := 104
	for _, ext := range []struct {
		kind uint32
		text string
	}{{0x6803f857, strings.Repeat("f", 48)}, {0xe2792aca, format}} {
		if ext.text != "" {
			be.PutUint32(img[at:], ext.kind)
			be.PutUint32(img[at+4:], uint32(len(ext.text)))
			copy(img[at+8:], ext.text)
			at += 8 + (len(ext.text)+7)&^7
		}
	}
	at += 8 // end of the extensions
	be.PutUint64(img[8:], uint64(at))
	be.PutUint32(img[16:], uint32(len(name)))
	copy(img[at:], name)
	return img
}

// tree is a folder with the images of a test, in separate folders.
type tree struct {
	t   *testing.T
	dir string
}

func newTree(t *testing.T) tree {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return tree{t, dir}
}

func (f tree) path(name string) string { return filepath.Join(f.dir, name) }

func (f tree) write(name string, content []byte) string {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(f.path(name)), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.path(name), content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return f.path(name)
}

func (f tree) link(name, to string) {
	f.t.Helper()
	if err := os.Symlink(to, f.path(name)); err != nil {
		f.t.Skip(err)
	}
}

// content opens an image and reads all of it.
func (f tree) content(path string, backing ...string) ([]byte, *disk.Disk, error) {
	f.t.Helper()
	img, err := disk.Open(path, disk.Options{Backing: backing})
	if err != nil {
		return nil, nil, err
	}
	defer img.Close()
	p := make([]byte, img.Size())
	if _, err := img.ReadAt(p, 0); err != nil {
		f.t.Fatal(err)
	}
	return p, img, nil
}

// Files beside an image are read, however they are named. Each image of a chain has its own folder.
func TestBackingBeside(t *testing.T) {
	f := newTree(t)
	want := text16(8 * cluster)
	f.write("disks/base", want)
	f.write("disks/packed", qcow2(slices.Clone(want)))
	f.link("disks/link", "base")
	f.link("folder", "disks")
	f.link("image", "disks/over")
	for _, name := range []string{"base", "./base", "../disks/base", f.path("disks/base"), f.path("folder/base"), "link"} {
		path := f.write("disks/over", basedOn(name, "raw", len(want)))
		for _, path := range []string{path, f.path("folder/over"), f.path("image")} {
			got, img, err := f.content(path)
			if err != nil || !bytes.Equal(got, want) || !slices.Equal(img.Backing, []string{f.path("disks/base")}) {
				t.Errorf("%s on %s: %v, %+v", path, name, err, img)
			}
		}
	}
	f.write("disks/middle", basedOn("packed", "qcow2", len(want)))
	path := f.write("disks/over", basedOn("middle", "qcow2", len(want)))
	clean := qcow2(slices.Clone(want))
	f.write("disks/packed", clean)
	got, img, err := f.content(path)
	if err != nil || !slices.Equal(img.Backing, []string{f.path("disks/middle"), f.path("disks/packed")}) {
		t.Fatal(err, img)
	}
	if third := cluster * 3; !bytes.Equal(got[cluster:third], want[cluster:third]) {
		t.Error("the content of the last image is not there")
	}
}

// Nothing else is read unless allowed.
func TestBackingElsewhere(t *testing.T) {
	f := newTree(t)
	secret := bytes.Repeat([]byte("secret0123456789"), cluster/16)
	f.write("other/secret", secret)
	f.write("disks/sub/secret", secret)
	f.write("disks/middle", basedOn("../other/secret", "raw", cluster))
	f.write("other/middle", basedOn("../disks/sub/secret", "raw", cluster))
	f.link("disks/link", "../other/secret")
	f.link("disks/down", "sub/secret")
	f.link("disks/self", "self")
	if out, err := exec.CommandContext(t.Context(), "mkfifo", f.path("disks/pipe")).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	const outside, odd = "is not in the same directory as the image", "is not a regular file"
	for name, why := range map[string]string{
		"../other/secret": outside, f.path("other/secret"): outside, "link": outside, "sub/secret": outside, "down": outside,
		"sub": odd, "pipe": odd, "/dev/null": outside, ".": outside, "..": outside, "/": outside, "none": fs.ErrNotExist.Error(), "self": "too many links",
	} {
		path := f.write("disks/over", basedOn(name, "raw", cluster))
		_, _, err := f.content(path)
		var refused *disk.BackingError
		if !errors.As(err, &refused) || refused.Name != name || refused.Image != path || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", name, err, why)
		}
		if errors.Is(err, fs.ErrNotExist) != (name == "none") {
			t.Errorf("%s: %v", name, err)
		}
	}
	over := f.write("disks/over", basedOn("link", "raw", cluster))
	for _, allowed := range []string{f.path("other/secret"), f.path("disks/link")} {
		if got, img, err := f.content(over, "none", allowed); err != nil || !bytes.Equal(got, secret) || !slices.Equal(img.Backing, []string{allowed}) {
			t.Errorf("allowed as %s: %v", allowed, err)
		}
	}
	// A file beside the image, or an allowed one, may itself name a file elsewhere.
	over = f.write("disks/over", basedOn("middle", "qcow2", cluster))
	if _, _, err := f.content(over); err == nil || !strings.Contains(err.Error(), "disks/middle has the backing file ../other/secret") {
		t.Error(err)
	}
	over = f.write("disks/over", basedOn("../other/middle", "qcow2", cluster))
	if _, _, err := f.content(over, f.path("other/middle")); err == nil || !strings.Contains(err.Error(), "other/middle has the backing file ../disks/sub/secret") {
		t.Error(err)
	}
	if got, _, err := f.content(over, f.path("other/middle"), f.path("disks/sub/secret")); err != nil || !bytes.Equal(got, secret) {
		t.Error(err)
	}
	// A moved image has the old path. A file beside it takes precedence over a name.
	over = f.write("disks/over", basedOn("/var/lib/images/secret", "raw", cluster))
	if got, img, err := f.content(over, f.path("other/secret")); err != nil || !bytes.Equal(got, secret) || len(img.Backing) != 1 {
		t.Error(err)
	}
	f.write("disks/secret", make([]byte, cluster))
	over = f.write("disks/over", basedOn("secret", "raw", cluster))
	if got, _, err := f.content(over, f.path("other/secret")); err != nil || bytes.Equal(got, secret) {
		t.Error(err)
	}
	if _, _, err := f.content(f.write("disks/over", basedOn("pipe", "raw", cluster)), f.path("disks/pipe")); err == nil || !strings.Contains(err.Error(), "neither a regular file nor a block device") {
		t.Error(err)
	}
}

// A name that is not a file name is refused with that name, and unsafe text is escaped.
func TestBackingNoFile(t *testing.T) {
	f := newTree(t)
	for _, name := range []string{`json:{"driver":"file","filename":"/etc/passwd"}`, "nbd:unix:/run/x", "ssh://host/x", "file:base", "fat:rw:."} {
		_, _, err := f.content(f.write("over", basedOn(name, "raw", cluster)))
		if err == nil || !strings.Contains(err.Error(), name+", which is not a file name") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"a\nb\x1b[31m\u202e", "json:\n\x1b"} {
		_, _, err := f.content(f.write("over", basedOn(name, "raw", cluster)))
		if err == nil || strings.ContainsAny(err.Error(), "\n\x1b\u202e") || !strings.Contains(err.Error(), `\u001b`) {
			t.Errorf("%q: %v", name, err)
		}
	}
	img := basedOn("base", "raw", cluster)
	binary.BigEndian.PutUint32(img[104:], 0x44415441)
	img[79] = 4
	if _, _, err := f.content(f.write("over", img)); err == nil || !strings.Contains(err.Error(), `external data files ("fff`) {
		t.Error(err)
	}
}

// A file is read in the declared format. A guest may have written an image header that points
// elsewhere to its raw disk.
func TestBackingFormat(t *testing.T) {
	f := newTree(t)
	trap := basedOn("secret", "raw", cluster)
	f.write("secret", bytes.Repeat([]byte("s"), cluster))
	f.write("base", trap)
	for _, tc := range []struct {
		format string
		want   []byte // nil: an error
		says   string
	}{
		{"raw", trap[:cluster], ""},
		{"qcow2", bytes.Repeat([]byte("s"), cluster), ""},
		{"", bytes.Repeat([]byte("s"), cluster), ""}, // like QEMU
		{"vmdk", nil, `in "vmdk" format, which is not supported`},
		{"host_device", nil, `in "host_device" format`},
		{"far too long a name", nil, "format of the backing file has 19 bytes"},
	} {
		got, _, err := f.content(f.write("over", basedOn("base", tc.format, cluster)))
		if tc.want == nil && (err == nil || !strings.Contains(err.Error(), tc.says)) || tc.want != nil && (err != nil || !bytes.Equal(got, tc.want)) {
			t.Errorf("%q: %v, the same: %v", tc.format, err, bytes.Equal(got, tc.want))
		}
	}
	f.write("base", bytes.Repeat([]byte("r"), cluster))
	if _, _, err := f.content(f.write("over", basedOn("base", "qcow2", cluster))); err == nil || !strings.Contains(err.Error(), "base: the image is not in qcow2 format") {
		t.Error(err)
	}
	if got, _, err := f.content(f.write("over", basedOn("base", "", 2*cluster))); err != nil || got[cluster-1] != 'r' || got[cluster] != 0 {
		t.Error("a raw file without a format:", err)
	}
}
