package explore

import "strings"

const helpText = `Moving
  up, k       line up                  down, j     line down
  PgUp        page up                  PgDn, Space page down
  g, Home     first line               G, End      last line
  Enter, l    open what is selected    Backspace, h  back
  Tab         the other pane

Going elsewhere
  :           go to a place:
                81          metadata block 81
                1m          the metadata block at this byte
                dev 7       a device, or vg/lv by its name
                thin 100    a thin block of this device
                dev 7 thin 1g    the same of another, by bytes
                data 100    who maps a data block
  m           superblock, metadata snapshot, older states, faults
  f, F        next fault, previous fault
  /           search this page         n, N        next, previous

Asking
  o           owners: all that leads to this block
  c           reference counts of what is selected
  r           who maps the selected data blocks
  d           where another device differs, from here on
  x           the bytes of this block, with named fields

Taking along
  e           export the mappings below this block as XML
  y           copy the path to this block, for thin_explore -p

  Esc         stop what is running     q           quit

A "!" before a line is damage. Nothing is ever written to the metadata.`

// helpView shows the keys.
func (m *Model) helpView() []Line {
	lines := []Line{{{m.fit(" thin_explore: keys", m.width), Title}}}
	text := strings.Split(helpText, "\n")
	for i := range m.height - 2 {
		line := ""
		if at := m.help - 1 + i; at < len(text) {
			line = text[at]
		}
		style := Plain
		if line != "" && line[0] != ' ' {
			style = Heading
		}
		lines = append(lines, Line{{m.fit(" "+line, m.width), style}})
	}
	return append(lines, Line{{m.fit(" up, down: scroll  any other key: back", m.width), Dim}})
}

// helpKey scrolls the help, or closes it.
func (m Model) helpKey(k Key) Model {
	last := max(strings.Count(helpText, "\n")+2-(m.height-2), 0) + 1
	step := map[Key]int{"down": 1, "j": 1, "up": -1, "k": -1, "pgdown": m.height - 2, "space": m.height - 2, "pgup": 2 - m.height, "g": -last, "G": last}[k]
	if step == 0 {
		m.help = 0
		return m
	}
	m.help = max(min(m.help+step, last), 1)
	return m
}
