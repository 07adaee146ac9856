// Package restore, whose API may change, writes new and complete metadata of a pool. A
// [Builder] is a metadata.Visitor: tool/dump hands it the content of a pool, xmlfmt and
// jsonfmt that of a dump, and a program whatever it makes up.
//
// The result is as small as it can be: nodes are full, and what the description shares
// is shared.
package restore

import (
	"context"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options for [New].
type Options struct {
	Parallel int                                    // goroutines; 0: one a processor
	Note     func(text string)                      // told of what was set right, if not nil
	Progress func(phase string, done, total uint64) // called now and then, if not nil
}

// A SpaceError says that a device has fewer blocks than the metadata needs.
type SpaceError = write.SpaceError

// A Builder keeps the description of a pool, from Begin to End, until it is written.
type Builder struct {
	metadata.Visitor
	b *write.Builder
}

// New returns an empty Builder.
func New(opt Options) *Builder {
	b := write.New(write.Options{Parallel: opt.Parallel, Note: opt.Note, Progress: opt.Progress})
	return &Builder{b, b}
}

// Least is how many blocks the smallest device has that the metadata fits on. It is known
// after End.
func (b *Builder) Least() block.Nr { return b.b.Least() }

// Write writes the metadata to dev, whose content is lost. If it does not fit the error is a
// [*SpaceError], and dev is as it was. Block 0 is invalid until everything else is on stable
// storage: whatever interrupts Write leaves complete metadata, or a device that the kernel
// refuses.
func (b *Builder) Write(ctx context.Context, dev block.Device) error { return b.b.Write(ctx, dev) }
