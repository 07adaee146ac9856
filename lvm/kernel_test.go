package lvm_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/lvm"
)

func open(t *testing.T, paths ...string) []*disk.Disk {
	t.Helper()
	return openWith(t, disk.Options{}, paths...)
}

func openWith(t *testing.T, opt disk.Options, paths ...string) []*disk.Disk {
	t.Helper()
	var imgs []*disk.Disk
	for _, path := range paths {
		img, err := disk.Open(path, opt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		imgs = append(imgs, img)
	}
	return imgs
}

func sum(t *testing.T, g *lvm.Group, name string, opt lvm.ReadOptions) (string, int64, error) {
	t.Helper()
	v := g.Volume(name)
	if v == nil {
		t.Fatalf("there is no %s", name)
	}
	r, err := g.Open(v, opt)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(r, 0, r.Size()))
	return fmt.Sprintf("%x", h.Sum(nil)), n, err
}

// The metadata volumes of pools read the same as from the kernel.
func TestKernelDisks(t *testing.T) {
	for _, name := range []string{"one-pv", "two-pvs"} {
		paths, volumes := fixtures.Disks(t, name)
		set, err := lvm.Scan(t.Context(), lvm.Options{}, open(t, paths...)...)
		if err != nil {
			t.Fatal(err)
		}
		if len(set.Problems) > 0 || len(set.Groups) != 1 || len(set.Groups[0].Problems) > 0 {
			t.Fatalf("%s: %d groups, problems %v", name, len(set.Groups), set.Problems)
		}
		g := set.Groups[0]
		thin := 0
		for _, want := range volumes {
			v := g.Volume(want.Name)
			if v == nil || g.Name != want.Group || v.Size != want.Size {
				t.Errorf("%s/%s: %+v", want.Group, want.Name, v)
				continue
			}
			if v.Type() == "thin" {
				thin++
				if s := v.Thin(); s.Pool != "pool" || s.DeviceID != uint64(thin) || s.TransactionID != uint64(thin-1) {
					t.Errorf("%s: %+v", v.Name, s)
				}
				continue
			}
			if got, n, err := sum(t, g, want.Name, lvm.ReadOptions{}); err != nil || got != want.SHA256 || n != want.Size {
				t.Errorf("%s: %d bytes with sum %s, err %v", want.Name, n, got, err)
			}
		}
		if thin != len(volumes)-1 {
			t.Errorf("%s: %d thin volumes, want %d", name, thin, len(volumes)-1)
		}
	}
}
