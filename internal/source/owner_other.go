//go:build !unix

package source

import (
	"io/fs"
	"os"
)

// chownLike is for systems whose files have owners and groups.
func chownLike(*os.File, fs.FileInfo) bool { return true }

// ownGroup is for systems whose files have groups.
func ownGroup(fs.FileInfo) bool { return true }
