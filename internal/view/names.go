package view

import (
	"errors"
	"strings"

	"thinpool/metadata"
)

// label is what messages call a device; name may be nil.
func label(id metadata.DevID, name func(metadata.DevID) string) string {
	if name == nil {
		return metadata.Label(id, "")
	}
	return metadata.Label(id, name(id))
}

// Named puts what name calls devices into the text of an error, where an error that it wraps
// is about one. A nil name calls them nothing.
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

// joined are the errors of which errors.Join made err; nil if it did not.
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

// aboutDevice is an error about a device, which can be told what that is called.
type aboutDevice interface {
	DevID() metadata.DevID
	Named(name string) string
}

// textNamed is the text of err in which the part that comes of an error about a device is
// replaced.
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
		if at := strings.LastIndex(text, e.Error()); at >= 0 { // what is wrapped comes last
			text = text[:at] + textNamed(e, name) + text[at+len(e.Error()):]
		}
	}
	return text
}
