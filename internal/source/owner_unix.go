//go:build unix

package source

import (
	"io/fs"
	"os"
	"syscall"
)

// chownLike gives f the owner and the group of the file that info is of, as far as that is
// allowed. It reports whether f has the group.
func chownLike(f *os.File, info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	return f.Chown(int(stat.Uid), int(stat.Gid)) == nil || f.Chown(-1, int(stat.Gid)) == nil
}

// ownGroup reports whether the group of a file is that which new files get.
func ownGroup(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Gid) == os.Getegid()
}
