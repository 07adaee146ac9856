// Package damage, whose API may change, damages metadata and demands that the tools take it well. Each
// image that a kernel made is damaged in many ways, and for each it is judged,
// by a plain reader that shares no tree code with the tools:
//
//   - whether tool/check names the damaged block and the devices that it costs,
//   - whether what tool/repair makes is sound, says truly what is lost, invents
//     nothing, and saves at least what other implementations save.
//
// Damage comes in two sorts. Where a checksum or a self reference is wrong, or a
// block cannot be read, the block is lost and its loss must be found and told.
// Where the block was sealed again after the change, it says something else than
// before, and there is only the redundancy of the format to tell: every pointer and every mapping is
// repeated in a reference count, the number of mappings in the device details,
// device ids in two trees, and keys must ascend within the bounds of the parents. What contradicts
// itself must be found. What does not (a mapping that moved to a thin block
// between its neighbours, a time, a transaction id) cannot be found: such cases
// are counted as beyond detection, and of a repair it is demanded only that it
// keeps what a plain reader of the damaged metadata sees. Contradiction
// alone does not tell which side is right either; so of sealed damage a repair may
// keep what the damaged block says, in place of the truth.
//
// Composed kinds of damage ask for more. After an older superblock, two hosts that had the pool active, or a
// superblock that is lost, there are several states of the pool on the device. A repair must take the right one,
// or name it and not claim that all is well. Histories, in which a kernel made commit after commit, have the truth about these. Of all
// damage is demanded that no mapping in the result is wrong unless it is called guessed, and no device is one that never was.
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

// An Image is sound metadata, and the truth about it.
type Image struct {
	Name    string
	Content []byte
	Truth   *Reading
	Used    []block.Nr // all that the superblock reaches, ascending, itself included
	Roles   map[block.Nr]Role
	cache   map[place]*node // nodes of the undamaged image
	free    []block.Nr      // valid nodes that nothing reaches: left over from earlier transactions
	past    *past           // how it came to be; nil if that is not known
}

// NewImage reads the sound metadata in content.
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

// Images returns the project's images, its histories, and the images in the folder corpus
// that are not among them; without a folder it is "". Names, if any, choose.
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
