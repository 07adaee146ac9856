package source

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"thinpool/internal/cli"
	"thinpool/metadata/block"
	"thinpool/packfmt"
)

func testEnv(t *testing.T) *cli.Env {
	return &cli.Env{Context: t.Context(), Stderr: io.Discard, Log: slog.New(slog.DiscardHandler)}
}

// packed returns a pack of a device whose first block is a superblock.
func packed(t *testing.T) []byte {
	t.Helper()
	dev, err := block.Open(file(t, superblock()), block.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	var out bytes.Buffer
	if _, err := packfmt.Pack(t.Context(), dev, &out, packfmt.Options{}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What can be opened depends only on what the tool accepts. Opening does not change any file.
func TestOpenSpec(t *testing.T) {
	const refused, occupied = "not thin metadata", "Use --force to overwrite it"
	contents := map[string][]byte{
		"metadata": superblock(),
		"pack":     packed(t),
		"disk":     image(map[int]string{512: "LABELONE"}), // without a volume group
		"swap":     image(map[int]string{4086: "SWAPSPACE2"}),
		"small":    []byte("x"),
	}
	for name, tc := range map[string]struct {
		spec Spec
		want map[string]string // part of the error; "doubt": no error but a doubt; "": nothing wrong
	}{
		"read": {Spec{}, map[string]string{
			"metadata": "", "pack": "packed metadata", "disk": "LVM physical volume", "swap": refused, "small": "too small",
		}},
		"read, idle, packs": {Spec{Access: ReadIdle, Packs: true}, map[string]string{
			"metadata": "", "pack": "", "disk": refused, "swap": refused, "small": "too small",
		}},
		"read, disks": {Spec{Disk: &Disk{}}, map[string]string{
			"metadata": "", "pack": refused, "disk": "no LVM volume group was found", "swap": refused, "small": "too small",
		}},
		"read, a volume": {Spec{Disk: &Disk{LV: "vg/pool"}}, map[string]string{
			"metadata": "no LVM volume group was found", "disk": "no LVM volume group was found",
		}},
		"read, whatever it is": {Spec{Disk: &Disk{}, Packs: true, Doubtful: true}, map[string]string{
			"metadata": "", "pack": "", "disk": "doubt", "swap": "doubt", "small": "too small",
		}},
		"claim": {Spec{Access: Claim, DiskHint: "do this instead"}, map[string]string{
			"metadata": "", "pack": refused, "disk": "; do this instead", "swap": refused, "small": "too small",
		}},
		"claim, in place": {Spec{Access: Claim, Disk: &Disk{}, Doubtful: true, Least: 10}, map[string]string{
			"metadata": "", "pack": occupied, "disk": "no LVM volume group was found", "swap": occupied, "small": "too small",
		}},
		"claim, in place, force": {Spec{Access: Claim, Disk: &Disk{}, Doubtful: true, Force: true}, map[string]string{
			"metadata": "", "pack": refused, "disk": "no LVM volume group was found", "swap": "doubt",
		}},
		"overwrite": {Spec{Access: Overwrite, DiskHint: "do this instead", Least: 10}, map[string]string{
			"metadata": "", "pack": occupied, "disk": occupied + "; do this instead", "swap": occupied, "small": "Output file too small",
		}},
		"overwrite, force":  {Spec{Access: Overwrite, Force: true}, map[string]string{"metadata": "", "pack": "", "disk": "", "swap": ""}},
		"overwrite, larger": {Spec{Access: Overwrite, Least: 11, Force: true}, map[string]string{"metadata": "needs 11 blocks", "swap": ""}},
	} {
		for content, want := range tc.want {
			t.Run(name+", "+content, func(t *testing.T) {
				tc.spec.Path = file(t, contents[content])
				s, err := Open(testEnv(t), tc.spec)
				got := ""
				switch {
				case err != nil:
					got = err.Error()
				case s.Doubt != nil:
					got = "doubt"
				}
				if got != want && (want == "" || err == nil || !strings.Contains(got, want)) {
					t.Errorf("got %q, want %q", got, want)
				}
				if err == nil {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
				if now, err := os.ReadFile(tc.spec.Path); err != nil || !bytes.Equal(now, contents[content]) {
					t.Errorf("the file is not what it was: %v", err)
				}
			})
		}
	}
}

// A claimed source is not opened for writing until requested.
func TestWritable(t *testing.T) {
	for _, access := range []Access{Claim, Overwrite} {
		s, err := Open(testEnv(t), Spec{Path: file(t, superblock()), Access: access})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if access == Claim {
			if err := block.Write(s, 1, new(block.Data)); err == nil {
				t.Error("what is claimed can be written before it may")
			}
		}
		to, err := s.Writable()
		if err != nil {
			t.Fatal(err)
		}
		if err := block.Write(to, 1, &block.Data{1}); err != nil {
			t.Errorf("access %v: %v", access, err)
		}
	}
}
