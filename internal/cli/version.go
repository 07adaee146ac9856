package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// isVerbose reports whether args ask --version for more than the number.
func isVerbose(args []string) bool {
	return slices.Contains(args, "--verbose") || slices.Contains(args, "-v")
}

// printVersion prints the number on a line of its own, because clients parse it. On request, it
// adds how the binary was built.
func printVersion(w io.Writer, verbose bool) error {
	var s strings.Builder
	s.WriteString(Version + "\n")
	if info, ok := debug.ReadBuildInfo(); ok && verbose {
		s.WriteString("thinpool, " + commit(info) + "\n")
		fmt.Fprintf(&s, "%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
		for _, module := range info.Deps {
			fmt.Fprintf(&s, "%s %s\n", module.Path, module.Version)
		}
	}
	_, err := io.WriteString(w, s.String())
	return err
}

func commit(info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	switch revision := settings["vcs.revision"]; {
	case revision == "":
		return "commit unknown"
	case settings["vcs.modified"] == "true":
		return "commit " + revision + ", with changes"
	default:
		return "commit " + revision
	}
}
