package lvm

import "thinpool/lvm/internal/text"

// A Section is a part of LVM's text: its entries, in order.
type Section = text.Section

// A Value is what stands behind a key in LVM's text.
type Value = text.Value

// The kinds of a number in a [Value]; what is neither is text.
const (
	Integer = text.Integer
	Float   = text.Float
)
