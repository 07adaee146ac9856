// Package licenses holds the licences of thinpool and of everything linked into its tools. They
// must accompany the tools. "make licenses" writes the file.
package licenses

import _ "embed" // the file

// Text has all licences, each below the name of the part it covers.
//
//go:embed THIRD_PARTY_LICENSES
var Text string
