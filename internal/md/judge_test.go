package md_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/internal/md"
	"thinpool/test/shared"
)

// unpack unpacks an image of disks written by Linux.
func unpack(t *testing.T, name string) []byte {
	t.Helper()
	return shared.Unpack(t, shared.Path(t, "kernel", "layer-images", name+".img.zst"))
}

// kernelArrays lists arrays created by Linux, with the output of mdadm.
var kernelArrays = map[string]struct {
	disks   int
	version string
	uuid    string
	size    int64
	spare   int
	stale   int // the stale disk; 0: none
}{
	"md-raid1":       {2, "1.2", "67a2c65c:0dae703c:9f1c5a6a:88448a4e", 64512 << 10, 1, 0},
	"md-raid1-10":    {2, "1.0", "c835f33b:8d156f36:e1c2f49b:2169e34e", 65472 << 10, 1, 0},
	"md-raid1-090":   {2, "0.90", "6bcdc17f:62c713a9:2ef5b3ea:98c44f90", 65472 << 10, 1, 0},
	"md-raid1-stale": {2, "1.2", "b2f9598f:9191054c:ca7229ff:cf93baeb", 64512 << 10, 0, 2},
	"md-raid5":       {3, "1.2", "b9ee1858:2fe1b041:d5e17116:6a59d4d7", 129024 << 10, 1, 0},
	"md-raid10-far":  {2, "1.2", "de138493:30a23665:b0913e38:50f8adc7", 64512 << 10, 1, 0},
}

func TestKernelArrays(t *testing.T) {
	for name, tc := range kernelArrays {
		t.Run(name, func(t *testing.T) {
			var members []md.Member
			for i := range tc.disks {
				disk := unpack(t, fmt.Sprintf("%s.%d", name, i+1))
				members = append(members, member(fmt.Sprintf("disk %d", i+1), disk))
			}
			whole := assemble(t, members, md.Options{})
			want := content(t, whole)
			s := whole.Super
			if s.Version != tc.version || s.UUID.String() != tc.uuid || whole.Size() != tc.size || whole.Notes != nil || !s.Clean {
				t.Errorf("%d bytes, %+v", whole.Size(), s)
			}
			if string(want[512:520]) != "LABELONE" {
				t.Errorf("not a physical volume: %q", want[512:544])
			}
			if tc.stale > 0 {
				if whole.Roles[tc.stale-1].Member != -1 || !whole.Degraded {
					t.Errorf("the stale leg is used: %+v", whole.Roles)
				}
				stale := content(t, assemble(t, members[tc.stale-1:], md.Options{}))
				if bytes.Equal(stale, want) {
					t.Error("the stale leg has the same bytes")
				}
			}
			for i := range members {
				rest := append(append([]md.Member{}, members[:i]...), members[i+1:]...)
				if tc.spare == 0 {
					continue
				}
				if got := content(t, assemble(t, rest, md.Options{})); sha256.Sum256(got) != sha256.Sum256(want) {
					t.Errorf("without disk %d: other bytes", i+1)
				}
			}
		})
	}
}

// mdadm reads the tests' superblocks like the package does.
func TestMdadm(t *testing.T) {
	mdadm, err := exec.LookPath("mdadm")
	if err != nil {
		t.Skip("mdadm is not there")
	}
	for name, a := range map[string]array{
		"1.0":      {version: "1.0", level: 1, devices: 2},
		"1.1":      {version: "1.1", level: 5, layout: 2, devices: 3, drawn: "01P-1P0-P01"},
		"1.2":      {version: "1.2", level: 10, layout: 0x201, devices: 4, events: []uint64{1 << 40, 1 << 40, 1 << 40, 1 << 40}},
		"linear":   {version: "1.2", level: -1, devices: 1, sizes: []int{16 * chunk}},
		"raid0":    {version: "1.2", level: 0, layout: 2, devices: 2, sizes: []int{16 * chunk, 17 * chunk}},
		"0.90":     {version: "0.90", level: 6, layout: 2, devices: 4, drawn: "Q01P-01PQ-1PQ0-PQ01"},
		"far sets": {version: "1.2", level: 10, layout: 0x40201, devices: 5},
	} {
		members, _ := a.make()
		for i, m := range members {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, image(m), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), mdadm, "--examine", path).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
			fields := map[string]string{}
			for line := range strings.Lines(string(out)) {
				key, value, _ := strings.Cut(line, " : ")
				fields[strings.TrimSpace(key)] = strings.TrimSpace(value)
			}
			role := fmt.Sprintf("Active device %d", i)
			if m.Super.Version == "0.90" {
				role = "" // it is in a table below
			}
			version := strings.TrimSuffix(fields["Version"], ".00")
			uuid, _, _ := strings.Cut(fields["Array UUID"]+fields["UUID"], " ")
			if version != m.Super.Version || uuid != m.Super.UUID.String() || fields["Raid Level"] != m.Super.LevelName() ||
				fields["Events"] != fmt.Sprint(m.Super.Events) || fields["State"] != m.Super.State() || fields["Device Role"] != role ||
				!strings.Contains(fields["Checksum"], "correct") {
				t.Errorf("%s, device %d: %+v; mdadm says:\n%s", name, i, m.Super, out)
			}
		}
	}
}
