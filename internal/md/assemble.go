package md

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Member is a disk with a superblock.
type Member struct {
	Name  string // for messages
	R     io.ReaderAt
	Size  int64
	Super *Superblock
}

// Options for [Assemble].
type Options struct {
	// Stale allows members older than the others in roles that no other member has.
	Stale bool
}

// A Role is a position in an array.
type Role struct {
	Member int    // index of the member used; -1: none
	Stale  bool   // the member is older than the others
	Reason string // why none is used
}

// An Unused member is not read.
type Unused struct {
	Member int
	Reason string
}

// An Array reads the combined data of its members. It is safe for concurrent use if they are.
type Array struct {
	Super    *Superblock // of the newest member
	Roles    []Role
	Unused   []Unused
	Degraded bool
	Notes    []string // reasons to doubt the content

	size  int64
	piece piece
}

// Assemble builds an array from its members. It does not use members that are older than the
// newest, or that the newest calls failed. The error says what is unsupported or missing.
func Assemble(members []Member, opt Options) (*Array, error) {
	if len(members) == 0 {
		return nil, errors.New("md: no members")
	}
	a := &Array{Super: newest(members)}
	if err := a.assemble(members, opt); err != nil {
		return nil, fmt.Errorf("md array %s (%s): %w", a.Super.UUID, a.Super.LevelName(), err)
	}
	return a, nil
}

// newest returns the superblock with the highest event count; the first if there are several.
func newest(members []Member) *Superblock {
	return slices.MaxFunc(members, func(a, b Member) int { return cmp.Compare(a.Super.Events, b.Super.Events) }).Super
}

func (a *Array) assemble(members []Member, opt Options) error {
	s := a.Super
	for _, m := range members {
		switch o := m.Super; {
		case o.UUID != s.UUID:
			return fmt.Errorf("%s is of another array, %s", m.Name, o.UUID)
		case o.Reshape:
			return fmt.Errorf("%s: a reshape is in progress: part of the data has another layout: let mdadm finish it first", m.Name)
		case o.Journal || o.Role == RoleJournal:
			return fmt.Errorf("%s: the array has a journal, which may hold newer data: this is not supported", m.Name)
		}
	}
	a.choose(members, opt)
	legs := make([]leg, s.Devices)
	for i, r := range a.Roles {
		legs[i] = leg{name: fmt.Sprintf("role %d", i)}
		if r.Member >= 0 {
			legs[i] = newLeg(members[r.Member], i)
		} else {
			a.Degraded = true
			legs[i].missing = fmt.Errorf("role %d %s", i, r.Reason)
		}
	}
	if err := a.lay(legs); err != nil {
		return err
	}
	a.doubts(members)
	return nil
}

// choose assigns members to roles.
func (a *Array) choose(members []Member, opt Options) {
	a.Roles = make([]Role, a.Super.Devices)
	for i := range a.Roles {
		a.Roles[i] = Role{Member: -1, Reason: "is missing"}
	}
	var stale []int
	for i, m := range members {
		why, old := a.unfit(m.Super)
		switch {
		case why == "" && a.Roles[m.Super.Role].Member < 0:
			a.Roles[m.Super.Role] = Role{Member: i}
		case why == "":
			why = fmt.Sprintf("%s is used in its role %d", members[a.Roles[m.Super.Role].Member].Name, m.Super.Role)
		case old:
			stale = append(stale, i)
		}
		if why != "" {
			a.Unused = append(a.Unused, Unused{i, why})
		}
	}
	// The newest of the stale members first.
	slices.SortStableFunc(stale, func(x, y int) int { return cmp.Compare(members[y].Super.Events, members[x].Super.Events) })
	for _, i := range stale {
		r := &a.Roles[members[i].Super.Role]
		at := slices.IndexFunc(a.Unused, func(u Unused) bool { return u.Member == i })
		switch {
		case r.Member >= 0:
		case opt.Stale:
			*r = Role{Member: i, Stale: true}
			a.Notes = append(a.Notes, fmt.Sprintf("%s is used though %s", members[i].Name, a.Unused[at].Reason))
			a.Unused = slices.Delete(a.Unused, at, at+1)
		case r.Reason == "is missing":
			r.Reason = fmt.Sprintf("is not used: %s: %s", members[i].Name, a.Unused[at].Reason)
		}
	}
}

// unfit says why a member is not used, and whether it is merely old: it did have its role once.
func (a *Array) unfit(s *Superblock) (why string, old bool) {
	newest := a.Super
	switch {
	case s.Role == RoleSpare:
		return "it is a spare", false
	case s.Role < 0:
		return "it is marked as failed", false
	case s.Role >= newest.Devices:
		return fmt.Sprintf("its role %d is no longer in the array", s.Role), false
	case s.Replacement:
		return "it is an unfinished replacement for another member", true
	case s.Recovered >= 0:
		return "its rebuild is not complete", true
	case s.Events+1 < newest.Events: // members are written one after another
		return fmt.Sprintf("it is out of date: %d events, the newest member has %d", s.Events, newest.Events), true
	case s.number < len(newest.roles) && newest.roles[s.number] != s.Role:
		return "the newest member says that it failed", true
	}
	return "", false
}

// doubts records reasons to doubt the content.
func (a *Array) doubts(members []Member) {
	s := a.Super
	dirty := slices.ContainsFunc(a.Roles, func(r Role) bool { return r.Member >= 0 && !members[r.Member].Super.Clean })
	switch parity := s.Level >= 4 && s.Level <= 6; {
	case dirty && parity && a.Degraded:
		a.note("it was not stopped cleanly and lacks a member: data computed from parity may be wrong in places written last")
	case dirty && parity:
		a.note("it was not stopped cleanly: data that has to be computed from parity may be wrong in places written last")
	case dirty && (s.Level == 1 || s.Level == 10):
		a.note("it was not stopped cleanly: its legs may differ in places written last; the first leg is read")
	}
	for i, r := range a.Roles {
		if r.Member < 0 {
			continue
		}
		if m := members[r.Member]; m.Super.DataOffset+m.Super.DataSize > m.Size {
			a.note("%s (role %d) is cut off: it has %d bytes, its data should end at byte %d", m.Name, i, m.Size, m.Super.DataOffset+m.Super.DataSize)
		}
	}
}

func (a *Array) note(format string, args ...any) {
	a.Notes = append(a.Notes, fmt.Sprintf(format, args...))
}

// lacking lists the missing roles and the reasons.
func lacking(legs []leg) string {
	var list []string
	for _, l := range legs {
		if l.missing != nil {
			list = append(list, l.missing.Error())
		}
	}
	return strings.Join(list, ", ")
}

// missing counts the missing legs.
func missing(legs []leg) int {
	n := 0
	for _, l := range legs {
		if l.missing != nil {
			n++
		}
	}
	return n
}
