// Package damage, whose API may change, damages metadata and checks that the tools handle it well.
// It damages images made by a kernel in many ways. For each case, a plain reader that shares no
// tree code with the tools judges:
//
//   - whether tool/check names the damaged block and the affected devices,
//   - whether the result of tool/repair is sound, reports losses correctly, invents nothing, and
//     saves at least as much as other implementations.
//
// There are two sorts of damage. If a checksum or self reference is wrong, or a block is
// unreadable, the block is lost, and the loss must be found and reported. If the block was sealed
// again after the change, it says something different, and only the redundancy of the format can
// reveal it: every pointer and every mapping is repeated in a reference count, the number of
// mappings in the device details, and device ids in two trees; keys must ascend within the bounds
// given by the parents. Contradictions must be found. Changes without a contradiction cannot be
// found: a mapping moved to a thin block between its neighbours, a time, a transaction id. Such
// cases are counted as beyond detection, and a repair is only required to keep what a plain reader
// of the damaged metadata sees. A contradiction does not show which side is right either, so after
// sealed damage a repair may keep what the damaged block says instead of the truth.
//
// Composed kinds of damage require more. After an older superblock was put back, two hosts had the
// pool active, or the superblock was lost, there are several states of the pool on the device. A
// repair must take the right one, or name it and not claim that all is well. Histories of many
// commits by a kernel provide the truth for these cases. For all damage, the result must not
// contain wrong mappings that are not called guessed, or devices that never existed.
package damage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

// An Image is sound metadata and the truth about it.
type Image struct {
	Name    string
	Content []byte
	Truth   *Reading
	Used    []block.Nr // all blocks reachable from the superblock, ascending, including block 0
	Roles   map[block.Nr]Role
	cache   map[place]*node // nodes of the undamaged image
	free    []block.Nr      // valid but unreachable nodes, left by earlier transactions
	past    *past           // its history; nil: unknown
}

// NewImage reads sound metadata.
func NewImage(name string, content []byte) (*Image, error) {
	im := &Image{Name: name, Content: content, cache: map[place]*node{}}
	r := newReader(im, im.block)
	r.learn = true
	im.Truth = r.all()
	if im.Truth.Err != nil {
		return nil, fmt.Errorf("image %s: %w", name, im.Truth.Err)
	}
	if len(im.Truth.Lost) > 0 {
		return nil, fmt.Errorf("image %s: %s", name, &im.Truth.Lost[0])
	}
	im.Roles = r.roles
	for nr := range r.roles {
		im.Used = append(im.Used, nr)
	}
	slices.Sort(im.Used)
	for nr := range im.blocks() {
		if b, _ := im.block(nr); r.roles[nr] == NoRole && block.Verify(nr, b, block.Node) == nil {
			im.free = append(im.free, nr)
		}
	}
	return im, nil
}

func (im *Image) original(nr block.Nr) *block.Data {
	return (*block.Data)(im.Content[nr*block.Size:])
}

func (im *Image) blocks() block.Nr { return block.Nr(len(im.Content) / block.Size) }

// block returns block nr of the undamaged image.
func (im *Image) block(nr block.Nr) (*block.Data, error) {
	if nr >= im.blocks() {
		return nil, fmt.Errorf("block %d lies beyond the device", nr)
	}
	return (*block.Data)(im.Content[nr*block.Size:]), nil
}

// Images returns the project's images, its histories, and other images in the folder corpus, which
// may be "". If names are given, only those images are returned.
func Images(corpus string, names ...string) ([]*Image, error) {
	all := fixtures.Names()
	files, err := filepath.Glob(filepath.Join(corpus, "*.img.zst"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if corpus != "" {
			all = append(all, strings.TrimSuffix(filepath.Base(file), ".img.zst"))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, name := range fixtures.Histories() {
		all = append(all, inHistory+name)
	}
	var images []*Image
	for _, name := range all {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		im, err := open(corpus, name)
		if err != nil {
			return nil, err
		}
		images = append(images, im)
	}
	if len(images) == 0 || len(images) < len(names) {
		return nil, fmt.Errorf("not all of the images %q are there; there are %s", names, strings.Join(all, ", "))
	}
	return images, nil
}

func open(corpus, name string) (*Image, error) {
	if history, ok := strings.CutPrefix(name, inHistory); ok {
		return openHistory(history)
	}
	content, err := fixtures.Image(name)
	if err != nil {
		if content, err = unpack(filepath.Join(corpus, name+".img.zst")); err != nil {
			return nil, err
		}
	}
	return NewImage(name, content)
}

func unpack(path string) ([]byte, error) {
	packed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return dec.DecodeAll(packed, nil)
}
