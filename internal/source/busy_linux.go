package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// deviceNumber returns MAJOR:MINOR of the block device at path.
func deviceNumber(path string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&os.ModeType != os.ModeDevice {
		return "", false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return fmt.Sprintf("%d:%d", unix.Major(uint64(stat.Rdev)), unix.Minor(uint64(stat.Rdev))), true
}

// lockers returns the processes that have locked the file at path, as far as visible: only root
// sees those of other users.
func lockers(path string) []string {
	file, err := os.Stat(path)
	if err != nil {
		return nil
	}
	open, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	var names []string
	for _, fd := range open {
		info, err := os.Stat(fd)
		if err != nil || !os.SameFile(file, info) {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		about, err := os.ReadFile(filepath.Join(process, "fdinfo", filepath.Base(fd)))
		if err != nil || !strings.Contains(string(about), "lock:") {
			continue
		}
		name := fmt.Sprintf("process %s", filepath.Base(process))
		if command := attribute(process, "comm"); command != "" {
			name = fmt.Sprintf("%q (%s)", command, name)
		}
		names = append(names, name)
	}
	return names
}
