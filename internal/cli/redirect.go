package cli

import (
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// separateStreams refuses a command line that names a file to which standard output or standard
// error lead: a shell's ">> FILE" would destroy what is read. Standard input must be none of the
// files that are named along with it. The error is to be written to messages, which is not such a
// file.
func separateStreams(node *kong.Node, stdin io.Reader, stdout, stderr io.Writer) (messages io.Writer, err error) {
	names := fileNames(node)
	toStdout, toStderr := namedFile(stdout, names), namedFile(stderr, names)
	refuse := func(stream, name string) error {
		return Usagef("%s is %s, which is also named on the command line and would be overwritten", stream, name)
	}
	switch {
	case toStdout != "" && toStderr != "":
		return io.Discard, refuse("standard output", toStdout)
	case toStdout != "":
		return stderr, refuse("standard output", toStdout)
	case toStderr != "":
		return stdout, refuse("standard error", toStderr)
	}
	if name := namedFile(stdin, names); name != "" && slices.Contains(names, "-") {
		return stderr, refuse("standard input", name)
	}
	return stderr, nil
}

// namedFile is the name among names of the file or block device that stream leads to; "" if there
// is none.
func namedFile(stream any, names []string) string {
	f, ok := stream.(*os.File)
	if !ok {
		return ""
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() && info.Mode().Type() != os.ModeDevice {
		return ""
	}
	for _, name := range names {
		if named, err := os.Stat(name); err == nil && !isStream(name) && os.SameFile(info, named) {
			return name
		}
	}
	return ""
}

// isStream reports whether a name stands for an open file.
func isStream(name string) bool {
	return strings.HasPrefix(name, "/dev/std") || strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/self/fd/")
}

// fileNames are all arguments, and the values of options that are names of files: an id may be the
// name of a file as well.
func fileNames(node *kong.Node) []string {
	var names []string
	add := func(text string) {
		_, image, _ := strings.Cut(text, "=") // NAME=IMAGE
		for _, name := range []string{text, image} {
			names = append(names, name)
			if at := strings.LastIndexByte(name, '@'); at >= 0 { // IMAGE@BYTES
				names = append(names, name[:at])
			}
		}
	}
	values := node.Positional
	for _, flag := range node.Flags {
		if flag.PlaceHolder == "FILE" || flag.PlaceHolder == "IMAGE" {
			values = append(values, flag.Value)
		}
	}
	for _, v := range values {
		switch v.Target.Kind() {
		case reflect.String:
			add(v.Target.String())
		case reflect.Slice:
			for i := range v.Target.Len() {
				if text := v.Target.Index(i); text.Kind() == reflect.String {
					add(text.String())
				}
			}
		}
	}
	return names
}
