// Package restore, whose API may change, writes new and complete metadata of a pool. A [Builder]
// is a metadata.Visitor: tool/dump passes it the content of a pool, xmlfmt and jsonfmt that of a
// dump, and a program can pass it anything.
//
// The result is as small as possible: nodes are full, and what the description shares is shared.
package restore

import (
	"context"

	"thinpool/internal/write"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options for [New].
type Options struct {
	Parallel int                                    // goroutines; 0: one per processor
	Note     func(text string)                      // called for each correction, if not nil
	Progress func(phase string, done, total uint64) // called from time to time, if not nil
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

// Least returns the size in blocks of the smallest device the metadata fits on. It is known after
// End.
func (b *Builder) Least() block.Nr { return b.b.Least() }

// Write writes the metadata to dev, whose content is lost. If it does not fit, the error is a
// [*SpaceError], and dev is unchanged. Block 0 is invalid until everything else is on stable
// storage. So an interruption leaves complete metadata, or a device that the kernel refuses.
func (b *Builder) Write(ctx context.Context, dev block.Device) error { return b.b.Write(ctx, dev) }
