package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/test/shared"
)

// needKernel skips the test unless tests in virtual machines are requested.
func needKernel(t *testing.T, program string) {
	t.Helper()
	if os.Getenv("THINPOOL_KERNEL") == "" {
		t.Skip("THINPOOL_KERNEL=1 tries what is written on a real kernel, THINPOOL_KERNEL=all all of it")
	}
	shared.Path(t, "kernel", filepath.Base(program))
}

// needAllKernel skips a test that takes long unless all tests in virtual machines are requested.
func needAllKernel(t *testing.T, program string) {
	t.Helper()
	needKernel(t, program)
	if os.Getenv("THINPOOL_KERNEL") != "all" {
		t.Skip("only with THINPOOL_KERNEL=all")
	}
}

// sampled reports whether to run a case. Each boots one or more virtual machines, so only a sample
// is run, or all with THINPOOL_KERNEL=all.
func sampled(name string, sample ...string) bool {
	return os.Getenv("THINPOOL_KERNEL") == "all" || slices.Contains(sample, name)
}

// accepted checks that the kernel activates metadata and can write to all devices.
func accepted(t *testing.T, path string) {
	t.Helper()
	if r := run(t, activate, "--write", path); r.code != 0 {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
}

// copyOf returns a writable copy of a file.
func copyOf(t *testing.T, path string) string {
	t.Helper()
	made := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(made, must(os.ReadFile(path)), 0o600); err != nil {
		t.Fatal(err)
	}
	return made
}

// The kernel accepts what we restored or fixed, and writes to it. This needs a virtual machine and
// takes minutes, so it only runs on request.
func TestKernel(t *testing.T) {
	t.Parallel()
	needKernel(t, activate)
	for _, im := range images(t, largeImages...) {
		if sampled(im.name, "transactions", "metadata-snap", "wide-sharing", "odd-blocks") {
			t.Run(im.name, func(t *testing.T) {
				accepted(t, restore(t, withoutFlag(ours(t, "thin_dump", im.path)), size(t, im.path)))
			})
		}
		if !sampled(im.name, "powercut") {
			continue
		}
		strict := run(t, filepath.Join(tools, "thin_check"), "-q", "--strict", im.path)
		if strict.code == 0 || !im.sound {
			continue
		}
		t.Run(im.name+" fixed", func(t *testing.T) {
			fixed := copyOf(t, im.path)
			ours(t, "thin_check", "--auto-repair", fixed)
			ours(t, "thin_check", "--strict", fixed)
			accepted(t, fixed)
		})
	}
}

// TestKernelRepaired lets the kernel activate what thin_repair recovered from images without the
// top level of the mapping tree and every tenth mapping leaf.
func TestKernelRepaired(t *testing.T) {
	t.Parallel()
	needKernel(t, activate)
	all := []string{"transactions", "layers", "metadata-snap", "wide-sharing", "powercut"}
	for _, im := range images(t) {
		if !slices.Contains(all, im.name) || !sampled(im.name, "layers", "metadata-snap") {
			continue
		}
		t.Run(im.name, func(t *testing.T) {
			damaged, made := copyOf(t, im.path), filepath.Join(t.TempDir(), "made")
			damage(t, damaged)
			empty(t, made, size(t, im.path))
			if r := run(t, filepath.Join(tools, "thin_repair"), "-i", damaged, "-o", made); r.code != 1 {
				t.Fatalf("exit code %d, want 1, as leaves are lost\n%s%s", r.code, r.out, r.stderr)
			}
			ours(t, "thin_check", "--strict", made)
			verify(t, made)
			accepted(t, made)
		})
	}
}

// TestKernelRepairedHistories lets the kernel activate what thin_repair recovered from devices
// whose superblock was lost or set back.
func TestKernelRepairedHistories(t *testing.T) {
	t.Parallel()
	needKernel(t, activate)
	for _, name := range fixtures.Histories() {
		h := must(fixtures.OpenHistory(name))
		last := len(h.Supers) - 1
		lost := slices.Clone(h.Image)
		clear(lost[:block.Size])
		for what, image := range map[string][]byte{
			"lost":              lost,
			"of the first":      slices.Concat(h.Supers[0][:], h.Image[block.Size:]),
			"of the one before": slices.Concat(h.Supers[last-1][:], h.Image[block.Size:]),
		} {
			if !sampled(name+" "+what, "crowd lost", "mixed of the one before") {
				continue
			}
			t.Run(name+", superblock "+what, func(t *testing.T) {
				damaged, made := filepath.Join(t.TempDir(), "damaged"), filepath.Join(t.TempDir(), "made")
				if err := os.WriteFile(damaged, image, 0o600); err != nil {
					t.Fatal(err)
				}
				sb := must(metadata.DecodeSuperblock(metadata.SuperblockLocation, &h.Supers[last]))
				empty(t, made, int64(len(image)))
				args := []string{"-i", damaged, "-o", made}
				if what == "lost" {
					args = append(args, "--data-block-size", fmt.Sprint(sb.DataBlockSize), "--nr-data-blocks", fmt.Sprint(sb.DataSpaceMap.NrBlocks))
				}
				if r := run(t, filepath.Join(tools, "thin_repair"), args...); r.code > 1 || r.code == 0 && what == "lost" {
					t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
				}
				ours(t, "thin_check", "--strict", made)
				verify(t, made)
				accepted(t, made)
			})
		}
	}
}

// damage wipes the top level and some leaves.
func damage(t *testing.T, path string) {
	t.Helper()
	dev := must(block.Open(path, block.Options{}))
	defer dev.Close()
	p := must(metadata.Open(dev, metadata.Options{}))
	var devices []metadata.Device
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, d)
	}
	m := must(p.Mappings(t.Context(), devices...))
	wiped := []block.Nr{p.Live.MappingRoot}
	for i, leaf := range m.Forest.Leaves() {
		if i%10 == 3 {
			wiped = append(wiped, leaf.Block)
		}
	}
	zeroBlocks(t, path, wiped...)
}

// zeroBlocks zeroes blocks.
func zeroBlocks(t *testing.T, path string, wiped ...block.Nr) {
	t.Helper()
	dev := must(block.Open(path, block.Options{Write: true}))
	defer dev.Close()
	for _, nr := range wiped {
		if err := block.Write(dev, nr, new(block.Data)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLVM runs LVM with our tools in a virtual machine: it activates pools, detects damage,
// repairs, and compares the content of all volumes.
func TestLVM(t *testing.T) {
	t.Parallel()
	needKernel(t, lvmAccept)
	if r := run(t, lvmAccept, tools); r.code != 0 {
		t.Errorf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
}
