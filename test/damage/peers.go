package damage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"thinpool/metadata/block"
)

// A Peer is another implementation of thin_repair.
type Peer struct{ Name, Path string }

// Peers returns the available ones: 0.9 as installed by Debian stable, and 1.1, which the script
// getPeer can fetch. why says which are missing.
func Peers(getPeer string) (peers []Peer, why []string) {
	const installed = "/usr/sbin/thin_repair"
	switch out, err := exec.Command(installed, "-V").CombinedOutput(); {
	case err != nil:
		why = append(why, fmt.Sprintf("no thin_repair 0.9: %v", err))
	case !strings.HasPrefix(string(out), "0.9."):
		why = append(why, fmt.Sprintf("%s is version %.20s, not 0.9", installed, out))
	default:
		peers = append(peers, Peer{"0.9", installed})
	}
	out, err := exec.Command(getPeer).Output()
	if err != nil {
		return peers, append(why, fmt.Sprintf("no thin_repair 1.1: %v", err))
	}
	return append(peers, Peer{"1.1", filepath.Join(strings.TrimSpace(string(out)), "thin_repair")}), why
}

// peerPatience is how long a peer may take per case. Some loop forever.
const peerPatience = 10 * time.Second

// repair runs a peer on a case in the folder dir.
func (p Peer) repair(ctx context.Context, dir string, c *Case, d *Detection) *Salvage {
	s := &Salvage{Who: p.Name}
	in, out := filepath.Join(dir, "damaged"), filepath.Join(dir, "repaired")
	size := int64(len(c.Image.Content))
	if s.Err = errors.Join(os.WriteFile(in, c.Contents(), 0o600), os.WriteFile(out, nil, 0o600), os.Truncate(out, size)); s.Err != nil {
		s.wrong("%v", s.Err)
		return s
	}
	args := []string{"-i", in, "-o", out}
	if o, needed := c.overrides(); needed {
		args = append(args, "--transaction-id", fmt.Sprint(*o.TransactionID),
			"--data-block-size", fmt.Sprint(*o.DataBlockSize), "--nr-data-blocks", fmt.Sprint(*o.NrDataBlocks))
	}
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	s.Err = exec.CommandContext(ctx, p.Path, args...).Run()
	s.Claims = s.Err == nil
	// A failed repair may still have written something useful.
	content, err := os.ReadFile(out)
	if err != nil || len(content) < block.Size {
		return s
	}
	if made := ReadAll(content); made.Err == nil {
		s.judge(c, d.Seen, made)
		s.judgeState(c, made, nil)
		s.judgePhantoms(c, made)
	} else if s.Claims {
		s.Silent = true
	}
	return s
}
