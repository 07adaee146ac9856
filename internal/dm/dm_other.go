//go:build !linux

package dm

import "errors"

// Table is for Linux.
func Table(Number) ([]Target, error) { return nil, errors.ErrUnsupported }

// Status is for Linux.
func Status(Number) ([]Target, error) { return nil, errors.ErrUnsupported }
