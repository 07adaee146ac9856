package disk

import (
	"context"
	"errors"
	"fmt"

	"thinpool/internal/luks"
)

// A Lock is an encrypted disk that needs a key.
type Lock struct {
	Disk   *Disk
	Layer  string // "LUKS2"
	Memory int64  // memory needed to try a key, in bytes
	Tries  int    // number of wrong keys so far
}

// ErrNoKey means that no key opens an encrypted disk.
var ErrNoKey = errors.New("no key opens it")

// luks recognises an encrypted volume and opens it if there is a key.
func (s *search) luks(ctx context.Context, m *Medium, d *Disk) bool {
	start := make([]byte, min(luks.Probe, d.size))
	if d.ReadFull(start, 0) != nil || !luks.Recognise(start) {
		return false
	}
	h, err := luks.Open(ctx, d, d.size)
	if err != nil {
		m.Closed++
		s.problem(false, "%v is encrypted (LUKS) and cannot be read: %v", d, err)
		return true
	}
	layer := fmt.Sprintf("LUKS%d", h.Version)
	for _, note := range h.Notes {
		s.problem(true, "%v > %s: %s", d, layer, note)
	}
	v, err := s.unlock(ctx, h, Lock{Disk: d, Layer: layer, Memory: h.Memory()})
	if err != nil {
		m.Closed++
		s.problem(false, "%v is encrypted (%s): %v", d, layer, err)
		return true
	}
	s.inside(ctx, m, d.made(layer, v, v.Size()))
	return true
}

// unlock tries keys until there are no more.
func (s *search) unlock(ctx context.Context, h *luks.Header, lock Lock) (*luks.Volume, error) {
	for ; ; lock.Tries++ {
		if s.opt.Key == nil {
			return nil, ErrNoKey
		}
		key, err := s.opt.Key(ctx, lock)
		if err != nil {
			return nil, err
		}
		v, err := h.Unlock(ctx, key, s.opt.KeyMemory)
		if !errors.Is(err, luks.ErrWrongKey) {
			return v, err
		}
	}
}
