package luks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// maxObjects is the maximum number of key slots, digests or segments in LUKS2.
const maxObjects = 32

// metadata is the JSON of LUKS2, as far as needed for reading. Numbers that may be large are
// strings.
type metadata struct {
	Keyslots map[string]keyslot  `json:"keyslots"`
	Segments map[string]segment  `json:"segments"`
	Digests  map[string]digest64 `json:"digests"`
	Config   struct {
		Requirements struct {
			Mandatory []string `json:"mandatory"`
		} `json:"requirements"`
	} `json:"config"`
}

type keyslot struct {
	Type    string `json:"type"`
	KeySize int    `json:"key_size"`
	AF      struct {
		Type    string `json:"type"`
		Stripes int    `json:"stripes"`
		Hash    string `json:"hash"`
	} `json:"af"`
	Area struct {
		Type       string `json:"type"`
		Offset     string `json:"offset"`
		Size       string `json:"size"`
		Encryption string `json:"encryption"`
		KeySize    int    `json:"key_size"`
	} `json:"area"`
	KDF struct {
		Type       string `json:"type"`
		Salt       []byte `json:"salt"`
		Hash       string `json:"hash"`
		Iterations uint32 `json:"iterations"`
		Time       uint32 `json:"time"`
		Memory     uint32 `json:"memory"` // in KiB
		CPUs       int    `json:"cpus"`
	} `json:"kdf"`
	Priority *int `json:"priority"`
}

type segment struct {
	Type       string          `json:"type"`
	Offset     string          `json:"offset"`
	Size       string          `json:"size"`
	IVTweak    string          `json:"iv_tweak"`
	Encryption string          `json:"encryption"`
	SectorSize int             `json:"sector_size"`
	Integrity  json.RawMessage `json:"integrity"`
}

type digest64 struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations uint32   `json:"iterations"`
	Salt       []byte   `json:"salt"`
	Digest     []byte   `json:"digest"`
}

// parse parses the zero-terminated JSON.
func parse(area []byte) (*metadata, error) {
	body, _, _ := bytes.Cut(area, []byte{0})
	var m metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("its JSON: %w", err)
	}
	for name, n := range map[string]int{"key slots": len(m.Keyslots), "digests": len(m.Digests), "segments": len(m.Segments)} {
		if n > maxObjects {
			return nil, fmt.Errorf("its JSON: %d %s, at most %d are allowed", n, name, maxObjects)
		}
	}
	return &m, nil
}

// apply uses the only segment and its key slots, or returns an error.
func (h *Header) apply(m *metadata) error {
	required := m.Config.Requirements.Mandatory
	for _, r := range required {
		if strings.Contains(r, "reencrypt") {
			return fmt.Errorf("re-encryption is in progress (%s), so part of the data has another key: finish it with cryptsetup reencrypt first", quote(r))
		}
	}
	if len(required) > 0 {
		return fmt.Errorf("it requires %s, which is not supported", quote(required[0]))
	}
	if len(m.Segments) != 1 {
		return fmt.Errorf("%d segments, only one is supported", len(m.Segments))
	}
	id := slices.Collect(maps.Keys(m.Segments))[0]
	if err := h.segment(m.Segments[id]); err != nil {
		return fmt.Errorf("segment %s: %w", quote(id), err)
	}
	for _, d := range m.Digests {
		if slices.Contains(d.Segments, id) {
			h.addSlots(m, d)
		}
	}
	sort.Slice(h.Slots, func(i, j int) bool { return h.Slots[i].Number < h.Slots[j].Number })
	h.Slots = slices.CompactFunc(h.Slots, func(a, b Slot) bool { return a.Number == b.Number })
	return nil
}

// quote quotes a text from the header and truncates it if it is long.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}

func (h *Header) segment(s segment) error {
	switch {
	case s.Type != "crypt":
		return fmt.Errorf("its type %s is not supported", quote(s.Type))
	case len(s.Integrity) > 0 && string(s.Integrity) != "null":
		return errors.New("data with integrity tags is not supported")
	}
	var err error
	if h.Offset, err = bytesOf(s.Offset); err != nil {
		return fmt.Errorf("its offset: %w", err)
	}
	h.Size = -1
	if s.Size != "dynamic" {
		if h.Size, err = bytesOf(s.Size); err != nil {
			return fmt.Errorf("its size: %w", err)
		}
	}
	if h.firstIV, err = strconv.ParseUint(s.IVTweak, 10, 64); err != nil {
		return fmt.Errorf("its iv_tweak %s is not a number", quote(s.IVTweak))
	}
	h.Cipher, h.SectorSize = s.Encryption, s.SectorSize
	return nil
}

// bytesOf parses a number of bytes that must be whole sectors.
func bytesOf(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil || n < 0:
		return 0, fmt.Errorf("%s is not a number of bytes", quote(s))
	case n%sector != 0:
		return 0, fmt.Errorf("%d bytes are not whole sectors", n)
	}
	return n, nil
}

// addSlots adds the key slots of a digest.
func (h *Header) addSlots(m *metadata, d digest64) {
	for _, id := range d.Keyslots {
		k, ok := m.Keyslots[id]
		number, err := strconv.Atoi(id)
		if !ok || err != nil || number < 0 {
			continue
		}
		h.Slots = append(h.Slots, k.slot(number, d))
		if len(h.Slots) >= maxObjects {
			return
		}
	}
}

// slot converts a key slot for the rest of the package.
func (k keyslot) slot(number int, d digest64) Slot {
	s := Slot{
		Number: number, KDF: k.KDF.Type, Hash: k.KDF.Hash, Iterations: k.KDF.Iterations,
		priority: 1, salt: k.KDF.Salt,
		digest: digest{hash: d.Hash, iterations: d.Iterations, salt: d.Salt, sum: d.Digest},
	}
	if k.Priority != nil {
		s.priority = *k.Priority
	}
	if strings.HasPrefix(s.KDF, "argon2") {
		s.Hash, s.Iterations = "", k.KDF.Time
		s.Memory, s.Threads = int64(k.KDF.Memory)<<10, k.KDF.CPUs
	}
	offset, err1 := bytesOf(k.Area.Offset)
	size, err2 := bytesOf(k.Area.Size)
	s.area = area{
		offset: offset, size: size, cipher: k.Area.Encryption, areaKey: k.Area.KeySize,
		key: k.KeySize, stripes: k.AF.Stripes, hash: k.AF.Hash,
	}
	for name, is := range map[string]struct{ got, want string }{
		"type": {k.Type, "luks2"}, "splitter": {k.AF.Type, "luks1"}, "area": {k.Area.Type, "raw"}, "digest": {d.Type, "pbkdf2"},
	} {
		if is.got != is.want {
			s.Err = fmt.Errorf("its %s is %s, only %s is supported", name, quote(is.got), is.want)
			return s
		}
	}
	s.Err = errors.Join(err1, err2)
	return s
}
