// Package view formats what the tools find for people and programs: tables, JSON and reports. It
// opens no files; callers pass in the names of devices.
package view

import (
	"bytes"
	"encoding/json"
	"io"

	"thinpool/internal/printable"
)

// NewEncoder returns the encoder for all JSON the tools print: one record per line. It escapes
// everything that is unsafe on a terminal; encoding/json only escapes controls below space.
func NewEncoder(w io.Writer) *json.Encoder { return json.NewEncoder(printable.NewWriter(w)) }

// appendJSON appends text as a JSON string.
func appendJSON(dst []byte, text string) []byte {
	var b bytes.Buffer
	_ = NewEncoder(&b).Encode(text) // cannot fail
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
