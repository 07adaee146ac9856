package command

import (
	"encoding/json"
	"io"

	"thinpool/internal/printable"
)

// newEncoder returns what writes all JSON of the tools: a line a record, with escapes for what a
// terminal must not be shown. encoding/json has its own for controls below space only.
func newEncoder(w io.Writer) *json.Encoder { return json.NewEncoder(printable.NewWriter(w)) }
