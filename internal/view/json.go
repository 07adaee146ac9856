// Package view is what people and programs read of what the tools find: tables, JSON,
// reports. It opens nothing, and is told how devices are called.
package view

import (
	"bytes"
	"encoding/json"
	"io"

	"thinpool/internal/printable"
)

// NewEncoder returns what writes all JSON of the tools: a line a record, with escapes for what a
// terminal must not be shown. encoding/json has its own for controls below space only.
func NewEncoder(w io.Writer) *json.Encoder { return json.NewEncoder(printable.NewWriter(w)) }

// appendJSON appends a text as JSON has it.
func appendJSON(dst []byte, text string) []byte {
	var b bytes.Buffer
	_ = NewEncoder(&b).Encode(text) // neither a text nor a buffer fails
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
