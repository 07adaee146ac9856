package disk_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
)

// Images in other formats are named, with advice.
func TestFormats(t *testing.T) {
	for want, head := range map[string]string{
		"vmdk format, which is not supported: serve it with QEMU": "KDMV",
		"EWF (E01) format, which is not supported: mount it":      "EVF\x09\x0d\x0a\xff\x00",
		"vdi format":       strings.Repeat("\x00", 64) + "\x7f\x10\xda\xbe",
		"vhdx format":      "vhdxfile",
		"vhd format":       "conectix",
		"parallels format": "WithoutFreeSpace",
		"qed format":       "QED\x00",
		"zstd format, which is not supported: unpack it first": "\x28\xb5\x2f\xfd",
		"gzip format": "\x1f\x8b",
	} {
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, append([]byte(head), make([]byte, 4096)...), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.Open(path, disk.Options{}); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%v, want %q", err, want)
		}
		if img, err := disk.Open(path, disk.Options{Raw: true}); err != nil || img.Size() != int64(len(head)+4096) || img.Close() != nil {
			t.Errorf("as raw: %v", err)
		}
	}
	if _, err := disk.Open(filepath.Join(t.TempDir(), "none"), disk.Options{}); err == nil {
		t.Error("what is not there is opened")
	}
	if _, err := disk.Open(t.TempDir(), disk.Options{}); err == nil {
		t.Error("a folder is opened")
	}
}

const cluster = 4096

// qcow2 returns an image with content. Its clusters are zero, plain and compressed in turn.
func qcow2(content []byte) []byte {
	be := binary.BigEndian
	n := len(content) / cluster
	img := make([]byte, (3+n)*cluster)
	copy(img, "QFI\xfb")
	be.PutUint32(img[4:], 3)
	be.PutUint32(img[20:], 12)
	be.PutUint64(img[24:], uint64(len(content)))
	be.PutUint32(img[36:], 1)
	be.PutUint64(img[40:], cluster)
	be.PutUint32(img[100:], 104)
	be.PutUint64(img[cluster:], 2*cluster)
	l2 := img[2*cluster:][:cluster]
	for i := range n {
		p, at := content[i*cluster:][:cluster], uint64((3+i)*cluster)
		switch i % 3 {
		case 0:
			clear(p)
		case 1:
			copy(img[at:], p)
			be.PutUint64(l2[8*i:], at|1<<63)
		case 2:
			var packed bytes.Buffer
			w, err := flate.NewWriter(&packed, 9)
			if err == nil {
				_, err = w.Write(p)
			}
			if err != nil || w.Close() != nil || packed.Len() >= cluster {
				panic(err)
			}
			copy(img[at:], packed.Bytes())
			be.PutUint64(l2[8*i:], at|uint64((packed.Len()-1)/512)<<58|1<<62)
		}
	}
	return img
}

func text16(n int) []byte {
	p := make([]byte, n)
	for i := 0; i < n; i += 16 {
		copy(p[i:], fmt.Sprintf("content %07x\n", i))
	}
	return p
}

func same(t *testing.T, path string, want []byte) {
	t.Helper()
	img, err := disk.Open(path, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	got := make([]byte, len(want))
	if _, err := img.ReadAt(got, 0); img.Size() != int64(len(want)) || err != nil && err != io.EOF || !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes, want %d; the same: %v; %v", path, img.Size(), len(want), bytes.Equal(got, want), err)
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		off := rnd.Int64N(int64(len(want)))
		p := make([]byte, rnd.IntN(200000))
		n, err := img.ReadAt(p, off)
		if end := min(int(off)+len(p), len(want)); n != end-int(off) || !bytes.Equal(p[:n], want[off:end]) || n < len(p) && err != io.EOF {
			t.Fatalf("%s: %d bytes at %d: %d are read, %v", path, len(p), off, n, err)
		}
	}
}

func TestQcow2(t *testing.T) {
	content := text16(64 * cluster)
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, qcow2(content), 0o600); err != nil {
		t.Fatal(err)
	}
	same(t, path, content)
	img, err := disk.Open(path, disk.Options{Claim: true})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if err := img.OpenForWriting(); err == nil || !strings.Contains(err.Error(), "is read-only") {
		t.Errorf("it is opened for writing: %v", err)
	}
	if img, err := disk.Open(path, disk.Options{Raw: true}); err != nil || img.Size() != 67*cluster || img.Close() != nil {
		t.Errorf("as raw: %v", err)
	}
}

// Headers that would mislead the decoder are refused.
func TestQcow2Refuses(t *testing.T) {
	be := binary.BigEndian
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	backing := func(name string) func(p []byte) {
		return func(p []byte) {
			be.PutUint64(p[8:], 512)
			be.PutUint32(p[16:], uint32(len(name)))
			copy(p[512:], name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "other.vmdk"), []byte("KDMV"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(p []byte){
		"version 1 is not supported":    func(p []byte) { p[7] = 1 },
		"clusters of 2^40 bytes":        func(p []byte) { p[23] = 40 },
		"clusters of 2^8 bytes":         func(p []byte) { p[23] = 8 },
		"the L1 table of 34359738360":   func(p []byte) { be.PutUint32(p[36:], 1<<32-1) },
		"the L1 table of 8 bytes":       func(p []byte) { be.PutUint64(p[40:], 1<<63) },
		"a disk of 9223372036854775808": func(p []byte) { be.PutUint64(p[24:], 1<<63) },
		"a disk of 536870913":           func(p []byte) { be.PutUint64(p[24:], 512<<20+1) }, // one L2 table with 64 KiB clusters
		"a header of 1 bytes":           func(p []byte) { be.PutUint32(p[100:], 1) },
		"marked as corrupt":             func(p []byte) { p[79] = 2 },
		"the image is encrypted":        func(p []byte) { p[35] = 1 },
		`external data files ("")`:      func(p []byte) { p[79] = 4 },
		"outside the first cluster":     func(p []byte) { be.PutUint64(p[8:], cluster+1) },
		"header extension has":          func(p []byte) { be.PutUint64(p[104:], 1<<32|4000) },
		"unsupported feature":           func(p []byte) { p[78] = 1 },
		"more than 16 backing files":    backing("image"),
		"file does not exist":           backing("none"),
		"is not in the same directory":  backing("."),
		"vmdk format":                   backing("other.vmdk"),
		"has 2000 bytes":                backing(strings.Repeat("x", 2000)),
	} {
		img := qcow2(text16(8 * cluster))
		spoil(img)
		if err := os.WriteFile(path, img, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := disk.Open(path, disk.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Images from QEMU are readable in all variants that it can write.
func TestQemuImg(t *testing.T) {
	qemu, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), qemu, args...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %s", args, out)
		}
	}
	paths, _ := fixtures.Disks(t, "two-pvs")
	dir := t.TempDir()
	var raws []string
	for i, path := range paths {
		raw := filepath.Join(dir, fmt.Sprintf("disk%d.raw", i))
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(raw, whole[:6<<20], 0o600); err != nil {
			t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	want, err := os.ReadFile(raws[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"plain":    {},
		"old":      {"-o", "compat=0.10"},
		"deflate":  {"-c"},
		"zstd":     {"-c", "-o", "compression_type=zstd"},
		"small":    {"-c", "-o", "cluster_size=512"},
		"large":    {"-c", "-o", "cluster_size=2M"},
		"extended": {"-o", "extended_l2=on,cluster_size=128k"},
	} {
		made := filepath.Join(dir, name)
		run(append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raws[0], made)...)
		same(t, made, want)
		over := made + ".over"
		run("create", "-q", "-f", "qcow2", "-b", name, "-F", "qcow2", over)
		same(t, over, want)
	}
	for _, format := range []string{"vmdk", "vdi", "vhdx", "parallels", "qed"} {
		made := filepath.Join(dir, "other")
		run("convert", "-f", "raw", "-O", format, raws[0], made)
		if _, err := disk.Open(made, disk.Options{}); err == nil || !strings.Contains(err.Error(), format+" format") {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// FuzzQcow2 overwrites an image, mainly its header.
func FuzzQcow2(f *testing.F) {
	good := qcow2(text16(8 * cluster))
	f.Add(uint16(0), good[:120], uint16(2*cluster), good[2*cluster:][:64])
	f.Add(uint16(8), []byte("\x00\x00\x00\x00\x00\x00\x00\x70\x00\x00\x00\x05"), uint16(112), []byte("image"))
	path := filepath.Join(f.TempDir(), "image")
	f.Fuzz(func(t *testing.T, at uint16, a []byte, then uint16, b []byte) {
		img := bytes.Clone(good)
		copy(img[min(int(at), len(img)):], a)
		copy(img[min(int(then), len(img)):], b)
		if err := os.WriteFile(path, img, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, err := disk.Open(path, disk.Options{})
		if err != nil {
			return
		}
		defer opened.Close()
		p := make([]byte, 3*cluster)
		for _, off := range []int64{0, 5*cluster - 100, opened.Size() - 100} {
			_, _ = opened.ReadAt(p, off)
		}
	})
}
