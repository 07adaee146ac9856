//go:build !unix

package disk

import "errors"

type nbdClient struct{ size int64 }

func openNBD(string, string, <-chan struct{}) (*nbdClient, error) {
	return nil, errors.New("sockets are not supported on this system")
}

func (c *nbdClient) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (c *nbdClient) Close() error                      { return nil }
