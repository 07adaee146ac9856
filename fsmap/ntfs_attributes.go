package fsmap

import "iter"

// An ntfsAttribute is an attribute in a record.
type ntfsAttribute struct {
	kind   uint32
	named  bool
	value  []byte // if resident
	runs   []byte // if not resident
	first  int64  // first cluster of the attribute covered by runs
	broken bool   // the runs are malformed
}

// attributes yields the attributes of a record.
func attributes(p []byte) iter.Seq[*ntfsAttribute] {
	return func(yield func(*ntfsAttribute) bool) {
		at := int(le.Uint16(p[20:]))
		for at+24 <= len(p) {
			a := p[at:]
			n := int(min(le.Uint32(a[4:]), uint32(len(p))))
			if le.Uint32(a) == ntfsEnd || n < 24 || n > len(a) {
				return
			}
			x := &ntfsAttribute{kind: le.Uint32(a), named: a[9] > 0}
			if a = a[:n]; a[8] == 0 {
				length, offset := int(min(le.Uint32(a[16:]), uint32(n))), int(le.Uint16(a[20:]))
				if offset+length <= n {
					x.value = a[offset : offset+length]
				}
			} else if n >= 64 && int(le.Uint16(a[32:])) < n {
				x.runs, x.first = a[le.Uint16(a[32:]):], int64(le.Uint64(a[16:])&(1<<50-1))
			}
			if !yield(x) {
				return
			}
			at += n
		}
	}
}

// mostClusters limits a file's clusters, including holes: it has at most 1<<62 bytes.
const mostClusters = 1 << 41

// each yields the runs that are not holes. clusters is the size of the volume.
func (a *ntfsAttribute) each(clusters int64) iter.Seq[ntfsRun] {
	return func(yield func(ntfsRun) bool) {
		logical, at := a.first, int64(0)
		for p := a.runs; len(p) > 0 && p[0] != 0; {
			lengthSize, offsetSize := int(p[0]&15), int(p[0]>>4)
			if lengthSize < 1 || lengthSize > 8 || offsetSize > 8 || 1+lengthSize+offsetSize > len(p) {
				a.broken = true
				return
			}
			length := signed(p[1 : 1+lengthSize])
			if length < 1 || logical > mostClusters || length > mostClusters-logical {
				a.broken = true
				return
			}
			if offsetSize > 0 {
				at += signed(p[1+lengthSize : 1+lengthSize+offsetSize])
				if at < 0 || at > clusters-length {
					a.broken = true
					return
				}
				if !yield(ntfsRun{logical: logical, at: at, n: length}) {
					return
				}
			}
			logical += length
			p = p[1+lengthSize+offsetSize:]
		}
	}
}

// signed decodes a signed number of any size.
func signed(p []byte) int64 {
	n := int64(int8(p[len(p)-1]))
	for i := len(p) - 2; i >= 0; i-- {
		n = n<<8 | int64(p[i])
	}
	return n
}
