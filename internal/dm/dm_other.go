//go:build !linux

package dm

import "errors"

// Table works only on Linux.
func Table(Number) ([]Target, error) { return nil, errors.ErrUnsupported }

// Status works only on Linux.
func Status(Number) ([]Target, error) { return nil, errors.ErrUnsupported }
