package cli

import (
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// separateStreams refuses a command line that names the file behind standard output or standard
// error: a shell's ">> FILE" would destroy the input. Standard input must not be one of several
// named files. Write the error to messages, which is not such a file.
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

// namedFile returns which of names is the file or block device behind stream; "" if none is.
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

// isStream reports whether a name stands for an open descriptor.
func isStream(name string) bool {
	return strings.HasPrefix(name, "/dev/std") || strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/self/fd/")
}

// fileNames returns all arguments and the values of options that may be file names. An id may be a
// file name, too.
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
