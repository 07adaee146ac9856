package source

import (
	"context"
	"errors"
	"fmt"
	"io"

	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/internal/printable"
)

// Limits on keys and on the memory needed to try them.
const (
	maxKey       = 8 << 20 // as in cryptsetup
	plainMemory  = 1 << 30 // above this, a message comes first
	maxKeyMemory = 4 << 30 // above this, the user must allow it
	maxTries     = 3       // passphrases
)

// keys provides the keys of encrypted disks: from a file or typed by the user.
type keys struct {
	env    *cli.Env
	path   string // key file, "-" for standard input; empty: none
	memory int64  // memory a key may take

	content []byte // content of the file; nil until read
}

// how says how to open layers.
func (images *Images) how(env *cli.Env) disk.How {
	k := &keys{env: env, path: images.KeyFile, memory: images.KeyMemory}
	if k.memory == 0 {
		k.memory = maxKeyMemory
	}
	return disk.How{Key: k.next, KeyMemory: k.memory, Leg: images.Leg}
}

// next returns a key to try.
func (k *keys) next(_ context.Context, lock disk.Lock) ([]byte, error) {
	if lock.Tries == 0 {
		k.sayMemory(lock)
	}
	if k.path == "" {
		return k.ask(lock)
	}
	if lock.Tries > 0 {
		return nil, fmt.Errorf("the key in %s does not open it (every byte of the file is part of the key, including a final newline)", k.path)
	}
	if k.content == nil {
		content, err := k.read()
		if err != nil {
			return nil, fmt.Errorf("--key-file: %w", err)
		}
		k.content = content
	}
	return k.content, nil
}

// sayMemory warns before trying a key that takes much memory, or more than allowed.
func (k *keys) sayMemory(lock disk.Lock) {
	text, size := "", cli.HumanSize(uint64(lock.Memory))
	switch {
	case lock.Memory > k.memory:
		text = "key slots that need " + size + " of memory were not tried: allow it with --key-memory"
	case lock.Memory > plainMemory:
		text = "trying a key takes " + size + " of memory"
	default:
		return
	}
	fmt.Fprintf(k.env.Stderr, "note: %s: %s\n", printable.Text(lock.Disk.String()), text)
}

// read reads the key file.
func (k *keys) read() ([]byte, error) {
	if k.path != "-" {
		return k.env.ReadFile(k.path, maxKey)
	}
	content, err := io.ReadAll(io.LimitReader(k.env.Patient(k.env.Stdin), maxKey+1))
	if err == nil && len(content) > maxKey {
		err = fmt.Errorf("standard input has more than %d bytes", maxKey)
	}
	return content, err
}

// ask asks the user at the terminal. An empty answer leaves the disk closed.
func (k *keys) ask(lock disk.Lock) ([]byte, error) {
	if lock.Tries == maxTries {
		return nil, errors.New("no passphrase opens it")
	}
	question := fmt.Sprintf("Passphrase for %s (%s): ", printable.Text(lock.Disk.String()), lock.Layer)
	if lock.Tries > 0 {
		question = "Wrong passphrase. " + question
	}
	key, err := k.env.Secret(question)
	switch {
	case errors.Is(err, cli.ErrNoTerminal):
		return nil, errors.New("give the passphrase or the key with --key-file FILE")
	case err == nil && len(key) == 0:
		return nil, disk.ErrNoKey
	}
	return key, err
}
