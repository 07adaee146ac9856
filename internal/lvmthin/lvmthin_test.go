package lvmthin_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/internal/lvmthin"
	"thinpool/lvm"
)

// group opens the disks of a test case.
func group(t testing.TB, paths []string, opt lvm.Options) *lvm.Group {
	t.Helper()
	var imgs []*disk.Disk
	for _, path := range paths {
		img, err := disk.Open(path, disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		imgs = append(imgs, img)
	}
	set, err := lvm.Scan(t.Context(), opt, imgs...)
	if err != nil || len(set.Groups) != 1 {
		t.Fatalf("%d groups, %v", len(set.Groups), err)
	}
	return set.Groups[0]
}

func sum(t *testing.T, r lvmthin.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(r, 0, r.Size())); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// Volumes of both kinds contain what the kernel read from them.
func TestOpen(t *testing.T) {
	for _, name := range []string{"one-pv", "two-pvs"} {
		paths, volumes := fixtures.Disks(t, name)
		g := group(t, paths, lvm.Options{})
		for _, v := range volumes {
			r, err := lvmthin.Open(t.Context(), g, g.Volume(v.Name), lvmthin.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := sum(t, r); got != v.SHA256 || r.Size() != v.Size {
				t.Errorf("%s/%s: %d bytes with sum %s, want %d with %s", v.Group, v.Name, r.Size(), got, v.Size, v.SHA256)
			}
		}
	}
}

// A text can say anything, such as external origins in a circle, or a pool that is not one.
func TestOpenRefuses(t *testing.T) {
	paths, _ := fixtures.Disks(t, "one-pv")
	text := fixtures.Layout(t, paths[0], "linear")
	for name, tc := range map[string]struct{ old, new, volume, want string }{
		"circle":      {"device_id = 1\n", "device_id = 1\nexternal_origin = \"base\"\n", "base", "more than 16 external origins"},
		"no origin":   {"device_id = 1\n", "device_id = 1\nexternal_origin = \"gone\"\n", "base", "external origin gone is missing"},
		"no data":     {`pool = "pool_tdata"`, `pool = "gone"`, "base", "data volume gone is missing"},
		"no metadata": {`metadata = "pool_tmeta"`, `metadata = "gone"`, "base", "metadata volume gone is missing"},
		"no device":   {"device_id = 1\n", "device_id = 99\n", "base", "99"},
		"no pool":     {`thin_pool = "pool"`, `thin_pool = "pool_tdata"`, "base", "pool_tdata is not a thin pool"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(text, tc.old, tc.new, 1)
			if changed == text {
				t.Fatalf("the text has no %q", tc.old)
			}
			backup, err := lvm.ParseBackup([]byte(changed))
			if err != nil {
				t.Fatal(err)
			}
			g := group(t, paths, lvm.Options{Backup: backup})
			if _, err := lvmthin.Open(t.Context(), g, g.Volume(tc.volume), lvmthin.Options{}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
