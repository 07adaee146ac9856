package cli

import "strings"

// DidYouMean is the end of a message about a word that is not among those known: which of them
// may be meant. It is empty if none is like it.
func DidYouMean(word string, known []string) string {
	return didYouMean(closest(word, known))
}

func didYouMean(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(words, " or ") + "?"
}

// closest are the known words that are most like word, or have a part that is: thin_check for
// chek.
func closest(word string, known []string) []string {
	const mostSuggested = 3
	word = strings.ToLower(word)
	near := 2*max(1, len(word)/3) + 1
	var found []string
	for _, k := range known {
		d := 2 * distance(word, strings.ToLower(k))
		for _, part := range parts(k) {
			d = min(d, 2*distance(word, part)+1) // the whole word is better
		}
		switch {
		case d < near:
			near, found = d, []string{k}
		case d == near:
			found = append(found, k)
		}
	}
	if len(word) < 2 || len(found) > mostSuggested {
		return nil
	}
	return found
}

// parts are what follows the dashes and underscores in word, as far as it says something.
func parts(word string) []string {
	const shortest = 4
	var all []string
	for i, r := range word {
		if (r == '-' || r == '_') && len(word)-i > shortest {
			all = append(all, strings.ToLower(word[i+1:]))
		}
	}
	return all
}

// distance is how many letters must be inserted, left out, changed or swapped with the next to
// make b of a.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
