package printable

import "strings"

// Shell quotes a name for a shell if necessary.
func Shell(name string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("+-./:=@_", r)
	}
	if strings.TrimFunc(name, plain) == "" && name != "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
