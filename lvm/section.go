package lvm

import "thinpool/lvm/internal/text"

// A Section is a part of LVM's text: a list of entries.
type Section = text.Section

// A Value is the value of a key in LVM's text.
type Value = text.Value

// The kinds of numbers in a [Value]; anything else is a string.
const (
	Integer = text.Integer
	Float   = text.Float
)
