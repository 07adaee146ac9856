//go:build unix

package source

import (
	"io/fs"
	"os"
	"syscall"
)

// chownLike gives f the owner and group of the file described by info, as far as permitted. It
// reports whether f got the group.
func chownLike(f *os.File, info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	return f.Chown(int(stat.Uid), int(stat.Gid)) == nil || f.Chown(-1, int(stat.Gid)) == nil
}

// ownGroup reports whether the file has the group that new files get.
func ownGroup(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Gid) == os.Getegid()
}
