// Package view is what people and programs read of what the tools find: tables, JSON,
// reports. It opens nothing, and is told how devices are called.
package view

import (
	"encoding/json"
	"io"

	"thinpool/internal/printable"
)

// NewEncoder returns what writes all JSON of the tools: a line a record, with escapes for what a
// terminal must not be shown. encoding/json has its own for controls below space only.
func NewEncoder(w io.Writer) *json.Encoder { return json.NewEncoder(printable.NewWriter(w)) }
