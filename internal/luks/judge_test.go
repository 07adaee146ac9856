package luks_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/internal/luks"
	"thinpool/test/shared"
)

// unpack unpacks an image of disks written by Linux.
func unpack(t *testing.T, name string) []byte {
	t.Helper()
	return shared.Unpack(t, shared.Path(t, "kernel", "layer-images", name+".img.zst"))
}

// label checks that a volume starts with an LVM physical volume with the given UUID.
func label(t *testing.T, v *luks.Volume, uuid string) {
	t.Helper()
	p := make([]byte, 4096)
	if _, err := v.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	id := strings.ReplaceAll(uuid, "-", "")
	if string(p[512:520]) != "LABELONE" || string(p[512+32:512+64]) != id {
		t.Errorf("not the physical volume %s: %q", uuid, p[512:512+64])
	}
}

func TestKernelDisks(t *testing.T) {
	t.Run("luks2", func(t *testing.T) {
		h := open(t, unpack(t, "luks2-pv"))
		if h.Version != 2 || h.UUID != uuid || h.Offset != 16<<20 || h.Memory() != 32<<20 || h.Notes != nil {
			t.Errorf("%+v", h)
		}
		v := unlock(t, h, "correct horse")
		if v.Size() != 16<<20 {
			t.Errorf("size %d", v.Size())
		}
		label(t, v, "NHuLEa-ogKM-6TxW-25Nj-v3XS-iTeP-oYWGCG")
	})
	t.Run("luks1", func(t *testing.T) {
		key, err := os.ReadFile(shared.Path(t, "kernel", "layer-images", "luks1-pv.key"))
		if err != nil {
			t.Fatal(err)
		}
		disk := unpack(t, "luks1-pv")
		h := open(t, disk[4096*512:][:43008*512])
		if h.Version != 1 || h.Cipher != "aes-xts-plain64" {
			t.Errorf("%+v", h)
		}
		p := make([]byte, 520)
		if _, err := unlock(t, h, string(key)).ReadAt(p, 0); err != nil || string(p[512:]) != "LABELONE" {
			t.Errorf("not a physical volume: %q, %v", p[512:], err)
		}
	})
}

const keyText = "a passphrase"

// cryptsetup runs cryptsetup with a key file, in a folder of its own. It skips the test if
// cryptsetup is missing.
func cryptsetup(t *testing.T, dir string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("cryptsetup")
	if err != nil {
		t.Skip("cryptsetup is not there")
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(keyText), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append(args, "-q", "--key-file", "key")...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// openFile opens a file created by cryptsetup.
func openFile(t *testing.T, dir, name string) *luks.Header {
	t.Helper()
	image, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return open(t, image)
}

const (
	plainSize = 2 << 20
	shift     = 32 << 20 // what cryptsetup wants at the end; half of it remains there
)

// write writes known data with room for a header after it.
func write(t *testing.T, dir string) []byte {
	t.Helper()
	plain := random(plainSize)
	if err := os.WriteFile(filepath.Join(dir, "disk"), plain, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "disk"), plainSize+shift); err != nil {
		t.Fatal(err)
	}
	return plain
}

// cryptsetup encrypts known data in a file, without the kernel.
func TestCryptsetup(t *testing.T) {
	if testing.Short() {
		t.Skip("many cases")
	}
	encrypt := []string{"reencrypt", "disk", "--encrypt", "--type", "luks2", "--force-offline-reencrypt", "--reduce-device-size", "32M"}
	argon := []string{"--pbkdf-memory", "65536", "--pbkdf-force-iterations", "4", "--pbkdf-parallel", "2"}
	pbkdf2 := []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}
	for name, tc := range map[string]struct {
		args   []string
		sector int
		memory int64
		luks1  bool // also as LUKS1
	}{
		"argon2id 512":  {append([]string{"--pbkdf", "argon2id", "-s", "512", "--sector-size", "512"}, argon...), 512, 64 << 20, false},
		"argon2i 4096":  {append([]string{"--pbkdf", "argon2i", "-s", "256", "--sector-size", "4096"}, argon...), 4096, 64 << 20, false},
		"pbkdf2":        {append([]string{"-s", "512", "--sector-size", "512"}, pbkdf2...), 512, 0, true},
		"pbkdf2 sha512": {append([]string{"-s", "512", "--sector-size", "2048", "--hash", "sha512"}, pbkdf2...), 2048, 0, false},
		"cbc essiv":     {append([]string{"-c", "aes-cbc-essiv:sha256", "-s", "256", "--sector-size", "512"}, pbkdf2...), 512, 0, true},
		"cbc plain64":   {append([]string{"-c", "aes-cbc-plain64", "-s", "128", "--sector-size", "512", "--hash", "sha1"}, pbkdf2...), 512, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			plain := write(t, dir)
			cryptsetup(t, dir, append(encrypt, tc.args...)...)
			same := func(version int) {
				h := openFile(t, dir, "disk")
				if h.Version != version || h.SectorSize != tc.sector || h.Memory() != tc.memory || h.Notes != nil {
					t.Errorf("%+v", h)
				}
				if _, err := h.Unlock(t.Context(), []byte("another"), anyMemory); err != luks.ErrWrongKey {
					t.Errorf("a wrong key: %v", err)
				}
				if got := content(t, unlock(t, h, keyText)); !bytes.Equal(got[:plainSize], plain) {
					t.Errorf("LUKS%d: other bytes", version)
				}
			}
			same(2)
			if tc.luks1 {
				cryptsetup(t, dir, "convert", "disk", "--type", "luks1")
				same(1)
			}
		})
	}
}

// Disks formatted by cryptsetup as LUKS1 and LUKS2. Data encrypted with the volume key that
// cryptsetup prints reads correctly.
func TestCryptsetupFormats(t *testing.T) {
	for name, args := range map[string][]string{
		"luks1":         {"--type", "luks1", "--cipher", "aes-xts-plain64", "--key-size", "256"},
		"luks1 essiv":   {"--type", "luks1", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256", "--hash", "sha1"},
		"luks2 label":   {"--type", "luks2", "--pbkdf", "pbkdf2", "--label", "my disk"},
		"luks2 headers": {"--type", "luks2", "--pbkdf", "pbkdf2", "--luks2-metadata-size", "64k", "--luks2-keyslots-size", "2m"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "disk"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(dir, "disk"), 20<<20); err != nil {
				t.Fatal(err)
			}
			cryptsetup(t, dir, append([]string{"luksFormat", "disk", "--pbkdf-force-iterations", "1000"}, args...)...)
			cryptsetup(t, dir, "luksDump", "disk", "--dump-volume-key", "--volume-key-file", "volume-key")
			key, err := os.ReadFile(filepath.Join(dir, "volume-key"))
			if err != nil {
				t.Fatal(err)
			}
			image, err := os.ReadFile(filepath.Join(dir, "disk"))
			if err != nil {
				t.Fatal(err)
			}
			h := open(t, image)
			want := random(int(h.Size))
			copy(image[h.Offset:], want)
			encrypt(h.Cipher, key, image[h.Offset:], h.SectorSize, 0)
			h = open(t, image)
			if !bytes.Equal(content(t, unlock(t, h, keyText)), want) || h.Notes != nil {
				t.Errorf("other bytes; %q", h.Notes)
			}
			if h.Version == 2 && name == "luks2 label" && h.Label != "my disk" {
				t.Errorf("label %q", h.Label)
			}
			if h.Version == 1 {
				return
			}
			size := binary.BigEndian.Uint64(image[8:])
			image[4096] ^= 1
			h = open(t, image)
			if len(h.Notes) != 1 || !bytes.Equal(content(t, unlock(t, h, keyText)), want) {
				t.Errorf("from the second header, at %d: %q", size, h.Notes)
			}
		})
	}
}

func TestCryptsetupReencrypt(t *testing.T) {
	dir := t.TempDir()
	write(t, dir)
	cryptsetup(t, dir, "reencrypt", "disk", "--encrypt", "--init-only", "--type", "luks2", "--force-offline-reencrypt", "--reduce-device-size", "32M", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
	image, err := os.ReadFile(filepath.Join(dir, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = luks.Open(t.Context(), bytes.NewReader(image), int64(len(image)))
	if err == nil || !strings.Contains(err.Error(), "re-encryption is in progress") {
		t.Errorf("%v", err)
	}
}
