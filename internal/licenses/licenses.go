// Package licenses holds the licences of thinpool and of all that is linked into its tools, which must go where
// the tools go. "make licenses" writes the file.
package licenses

import _ "embed" // the file

// Text is all licences, each below the name of what it is for.
//
//go:embed THIRD_PARTY_LICENSES
var Text string
