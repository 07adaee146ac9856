package disk

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const nbdScheme = "nbd+unix://"

// IsURI reports whether an image is on a server rather than in a file: nbd+unix:///SOCKET, or
// nbd+unix:///EXPORT?socket=SOCKET.
func IsURI(path string) bool { return strings.HasPrefix(path, nbdScheme) }

// openURI connects to the server named by a URI.
func openURI(uri string, opt Options) (*Disk, error) {
	socket, export, err := parseURI(uri)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", uri, err)
	}
	c, err := openNBD(socket, export, opt.Done)
	if err != nil {
		return nil, err
	}
	d := &Disk{Name: uri, Format: rawFormat, r: c, size: c.size, file: &file{close: c.Close}}
	d.fixed = fmt.Errorf("%s is read-only: nothing is written to a server", uri)
	return d, nil
}

func parseURI(uri string) (socket, export string, err error) {
	path, query, ok := strings.Cut(strings.TrimPrefix(uri, nbdScheme), "?")
	if !ok {
		socket = path
	} else if values, bad := url.ParseQuery(query); bad == nil {
		socket, export = values.Get("socket"), strings.TrimPrefix(path, "/")
	}
	if !strings.HasPrefix(socket, "/") {
		return "", "", errors.New("want nbd+unix:///SOCKET, the path of a socket")
	}
	return socket, export, nil
}
