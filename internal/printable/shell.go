package printable

import "strings"

// Shell is a name as a shell takes it.
func Shell(name string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("+-./:=@_", r)
	}
	if strings.TrimFunc(name, plain) == "" && name != "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
