package view

import (
	"errors"
	"strings"

	"thinpool/metadata"
)

// label is how messages name a device. name may be nil.
func label(id metadata.DevID, name func(metadata.DevID) string) string {
	if name == nil {
		return metadata.Label(id, "")
	}
	return metadata.Label(id, name(id))
}

// Named rewrites the text of err so that each wrapped error about a device mentions the name of
// that device. It returns err unchanged if name is nil.
func Named(err error, name func(metadata.DevID) string) error {
	if err == nil || name == nil {
		return err
	}
	if all := joined(err); all != nil {
		for i := range all {
			all[i] = Named(all[i], name)
		}
		return errors.Join(all...)
	}
	if text := textNamed(err, name); text != err.Error() {
		return &namedError{err, text}
	}
	return err
}

// joined returns the errors that errors.Join combined into err, or nil if err is of another kind.
func joined(err error) []error {
	join, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(join.Unwrap()...).Error() {
		return nil
	}
	return append([]error(nil), join.Unwrap()...)
}

type namedError struct {
	error
	text string
}

func (e *namedError) Error() string { return e.text }

func (e *namedError) Unwrap() error { return e.error }

// aboutDevice is an error about a device that can include the device's name.
type aboutDevice interface {
	DevID() metadata.DevID
	Named(name string) string
}

// textNamed returns the text of err with the parts about devices replaced.
func textNamed(err error, name func(metadata.DevID) string) string {
	text := err.Error()
	if about, ok := err.(aboutDevice); ok {
		return about.Named(name(about.DevID()))
	}
	var inner []error
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		inner = []error{err.Unwrap()}
	case interface{ Unwrap() []error }:
		inner = err.Unwrap()
	}
	for _, e := range inner {
		if e == nil {
			continue
		}
		if at := strings.LastIndex(text, e.Error()); at >= 0 { // the wrapped error comes last
			text = text[:at] + textNamed(e, name) + text[at+len(e.Error()):]
		}
	}
	return text
}
