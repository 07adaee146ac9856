package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// QubesOS/qubes-dist-upgrade (qubes-dist-upgrade.sh) does shell arithmetic with the size.
func TestClient_qubes(t *testing.T) {
	t.Parallel()
	for _, pool := range []uint64{64 << 10, 10737418241, 500 << 30, 20 << 40} {
		out := asked(t, "thin_metadata_size", "-n", "-u", "b", "--block-size=64k", fmt.Sprintf("--pool-size=%db", pool), "--max-thins=1000")
		sum := must(exec.CommandContext(t.Context(), "sh", "-c", `echo $(( $1 * 2 ))`, "sh", out).Output())
		if n := must(strconv.ParseUint(strings.TrimSpace(out), 10, 64)); strings.TrimSpace(string(sum)) != fmt.Sprint(2*n) {
			t.Errorf("pool of %d bytes: %q, twice that is %q", pool, out, sum)
		}
	}
}

// LINBIT/linstor-server (StltExtToolsChecker.java) looks for three numbers separated by dots.
func TestClient_linstor(t *testing.T) {
	t.Parallel()
	if out := asked(t, "thin_check", "-V"); !regexp.MustCompile(`(\d+)\.(\d+)\.(\d+)`).MatchString(out) {
		t.Errorf("%q", out)
	}
}

// NixOS/nixpkgs (nixos/modules/tasks/lvm.nix) runs every link in its initrd with --help. lxc/incus
// and rear look for thin_check in PATH.
func TestClient_nixos(t *testing.T) {
	dir := links(t)
	for _, e := range must(os.ReadDir(dir)) {
		if out := silent(t, run(t, filepath.Join(dir, e.Name()), "--help")); !strings.HasPrefix(out, "Usage: "+e.Name()) {
			t.Errorf("%s --help: %.60q", e.Name(), out)
		}
	}
	t.Setenv("PATH", dir)
	if path, err := exec.LookPath("thin_check"); err != nil || filepath.Dir(path) != dir {
		t.Errorf("%s, %v", path, err)
	}
}

// mingnus/dm (shell helpers) greps for the block size and calculates with sectors.
func TestClient_mingnus(t *testing.T) {
	t.Parallel()
	path := fixture(t, "transactions")
	if !strings.Contains(asked(t, "thin_dump", path, "--skip-mappings"), ` data_block_size="1024"`) {
		t.Error("no block size")
	}
	out := asked(t, "thin_metadata_size", "--block-size", "128s", "--pool-size", "209715200s", "-m", "1", "-n", "-u", "s")
	must(strconv.ParseUint(strings.TrimSpace(out), 10, 64))
}

// Virtual machine managers and linux-scripts (proxmox/lvm-thin/list_meta_pve.sh) list devices.
func TestClient_vm_managers(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	want := read(t, path, true)
	lines := strings.Split(strings.TrimSpace(asked(t, "thin_ls", "-m", "--no-headers", "-o", "DEV,MAPPED_BYTES,EXCLUSIVE_BYTES", path)), "\n")
	for _, line := range lines {
		var id, mapped, exclusive uint64
		if n, err := fmt.Sscanf(line, "%d %d %d ", &id, &mapped, &exclusive); n != 3 || mapped < exclusive || exclusive == 0 {
			t.Errorf("line %q: %v", line, err)
		}
	}
	if len(lines) != len(want.mappings) {
		t.Errorf("%d lines, want %d", len(lines), len(want.mappings))
	}
	if out := asked(t, "thin_ls", "-m", path); !strings.HasPrefix(out, "DEV MAPPED CREATE_TIME SNAP_TIME \n") || strings.Count(out, "\n") != 1+len(want.mappings) {
		t.Errorf("thin_ls -m: %q", out)
	}
	out := asked(t, "thin_metadata_size", "--numeric-only", "--unit", "b", "-b", "64k", "-s", "1t", "-m", "1000")
	must(strconv.ParseUint(strings.TrimSpace(out), 10, 64))
}

// Red Hat's test suites (stqe, dmpd) only check exit codes.
func TestClient_dmpd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing, tiny, xml := filepath.Join(dir, "missing"), filepath.Join(dir, "tiny"), filepath.Join(dir, "xml")
	meta, out := fixture(t, "layers"), filepath.Join(dir, "out")
	empty(t, tiny, 512)
	empty(t, out, size(t, meta))
	if err := os.WriteFile(xml, []byte(ours(t, "thin_dump", meta)), 0o600); err != nil {
		t.Fatal(err)
	}
	var mustFail [][]string
	for _, input := range []string{missing, dir} {
		mustFail = append(mustFail,
			[]string{"thin_check", input}, []string{"thin_dump", input}, []string{"thin_ls", input}, []string{"thin_rmap", "--region", "0..1", input},
			[]string{"thin_delta", "--snap1", "1", "--snap2", "2", input}, []string{"thin_repair", "-i", input, "-o", out},
			[]string{"thin_restore", "-i", input, "-o", out}, []string{"thin_trim", "--metadata-dev", input, "--data-dev", out},
			[]string{"thin_metadata_pack", "-i", input, "-o", filepath.Join(dir, "pack")}, []string{"thin_metadata_unpack", "-i", input, "-o", filepath.Join(dir, "unpacked")})
	}
	for _, args := range [][]string{
		{"-b", "64"},
		{"-b", "25", "-s", "1g", "-m", "10"},
		{"-b", "64k", "-s", "32k", "-m", "10"},
		{"-b", "64k", "-s", "1g", "-m", "10", "-n", "-n"},
		{"-b", "64k", "-s", "1g", "-m", "10", "-nlongshort"},
		{"-b", "64k", "-b", "64k", "-s", "1g", "-m", "10"},
		{},
	} {
		mustFail = append(mustFail, append([]string{"thin_metadata_size"}, args...))
	}
	for _, region := range []string{"0..0", "0...1", "00", "5..4", "a..b", "..1", "0.."} {
		mustFail = append(mustFail, []string{"thin_rmap", "--region", region, meta})
	}
	mustFail = append(mustFail,
		[]string{"thin_rmap", meta},
		[]string{"thin_dump", "-f", "nonsense", meta}, []string{"thin_dump", "--format", "", meta},
		[]string{"thin_dump", "--dev-id", "one", meta},
		[]string{"thin_delta", "--snap1", "1", meta}, []string{"thin_delta", "--snap2", "1", meta},
		[]string{"thin_delta", "--snap1", "1", "--snap2", "9999", meta}, []string{"thin_delta", "--thin1", "9999", "--thin2", "1", meta},
		[]string{"thin_repair", "-i", meta, "-o", missing}, []string{"thin_repair", "-i", meta, "-o", tiny}, []string{"thin_repair", "-i", meta},
		[]string{"thin_restore", "-i", xml, "-o", missing}, []string{"thin_restore", "-i", xml, "-o", tiny}, []string{"thin_restore", "-o", out})
	for _, e := range must(os.ReadDir(tools)) {
		mustFail = append(mustFail, []string{e.Name(), "--no-such-option"})
	}
	for _, args := range mustFail {
		fails(t, args[0], args[1:]...)
	}
	if made := must(os.ReadDir(dir)); len(made) != 3 {
		t.Errorf("a tool that failed has left a file: %v", made)
	}
	for _, e := range must(os.ReadDir(tools)) {
		asked(t, e.Name(), "-h")
		asked(t, e.Name(), "-V")
	}
	asked(t, "thin_rmap", "--region", "0..-1", meta)
}
