package cli

import "strings"

// DidYouMean returns the end of a message about an unknown word: the known words it is similar to.
// It is empty if there are none.
func DidYouMean(word string, known []string) string {
	return didYouMean(closest(word, known))
}

func didYouMean(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(words, " or ") + "?"
}

// closest returns the known words most similar to word. A part of a known word may match, too: chek
// finds thin_check.
func closest(word string, known []string) []string {
	const mostSuggested = 3
	word = strings.ToLower(word)
	near := 2*max(1, len(word)/3) + 1
	var found []string
	for _, k := range known {
		d := 2 * distance(word, strings.ToLower(k))
		for _, part := range parts(k) {
			d = min(d, 2*distance(word, part)+1) // a match of the whole word is better
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

// parts returns the endings of word after each dash and underscore, if long enough to matter.
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

// distance returns how many letters must be inserted, deleted, replaced or swapped with their
// neighbor to turn a into b.
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
