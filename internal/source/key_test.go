package source

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"thinpool/disk"
	"thinpool/internal/cli"
)

// Slots that take much memory are announced, and those that take too much are reported, each once.
func TestKeyMemory(t *testing.T) {
	for _, c := range []struct {
		memory, allowed int64
		want            string
	}{
		{64 << 20, 0, ""},
		{1 << 30, 0, ""},
		{2 << 30, 0, "note: image: trying a key takes 2048MiB of memory\n"},
		{5 << 30, 0, "note: image: key slots that need 5120MiB of memory were not tried: allow it with --key-memory\n"},
		{5 << 30, 6 << 30, "note: image: trying a key takes 5120MiB of memory\n"},
	} {
		var stderr bytes.Buffer
		images := Images{KeyFile: file(t, []byte("secret\n")), KeyMemory: c.allowed}
		how := images.how(&cli.Env{Context: t.Context(), Stdin: strings.NewReader(""), Stderr: &stderr})
		lock := disk.Lock{Disk: disk.New("image", nil, 0), Layer: "LUKS2", Memory: c.memory}
		if key, err := how.Key(t.Context(), lock); err != nil || string(key) != "secret\n" || stderr.String() != c.want {
			t.Errorf("%d bytes: %q, %v, said %q", c.memory, key, err, &stderr)
		}
		lock.Tries = 1
		if _, err := how.Key(t.Context(), lock); err == nil || stderr.String() != c.want {
			t.Errorf("again: %v, said %q", err, &stderr)
		}
	}
}

// Standard input is read once for all disks. Without a file and a terminal, the message names the
// option.
func TestKeyFromStdin(t *testing.T) {
	env := &cli.Env{Context: t.Context(), Stdin: strings.NewReader("secret"), Stderr: &bytes.Buffer{}}
	how := (&Images{KeyFile: "-"}).how(env)
	lock := disk.Lock{Disk: disk.New("image", nil, 0)}
	for range 2 {
		if key, err := how.Key(t.Context(), lock); err != nil || string(key) != "secret" {
			t.Errorf("%q, %v", key, err)
		}
	}
	if _, err := (&Images{}).how(env).Key(t.Context(), lock); err == nil || !strings.Contains(err.Error(), "--key-file FILE") {
		t.Error(err)
	}
	env.Stdin = strings.NewReader(strings.Repeat("x", maxKey+1))
	if _, err := (&Images{KeyFile: "-"}).how(env).Key(t.Context(), lock); err == nil || errors.Is(err, disk.ErrNoKey) {
		t.Errorf("too long: %v", err)
	}
}
