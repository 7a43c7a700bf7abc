package devices

import "bytes"

// layout is a devices file cut into its head and one piece of text for each device. Pieces are read one by one, so that
// the syntax trees of a large file are never in memory together, unchanged ones need no second reading, and an edit
// touches no other line.
type layout struct {
	head   []byte // the file with the lines of the devices left blank, so that line numbers hold
	pieces []piece
	indent string // what stands before the "-" of each device
	end    int    // byte offset at which another device's text goes; -1 when the file has no block list
}

// piece is the text of one device.
type piece struct {
	start, end int // byte offsets in the file
	line       int // of its "-"
}

// split finds the block list under "devices:". It decides by indentation alone, as YAML does for block lists; whatever is
// malformed stays in a piece or in the head, where the YAML parser finds it.
func split(data []byte) layout {
	l := layout{end: -1}
	head := make([]byte, 0, 1024)
	var inList, started bool
	line := 0
	for at := 0; at < len(data); {
		line++
		next := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		text := bytes.TrimRight(data[at:next], "\r\n")
		indent, body := cutIndent(text)
		quiet := len(body) == 0 || body[0] == '#'
		switch {
		case !inList && !started && isListKey(text):
			inList, l.end = true, next
		case !inList:
		case quiet:
		case isItem(body) && (!started || len(indent) == len(l.indent)):
			started, l.indent = true, string(indent)
			l.pieces = append(l.pieces, piece{start: at, end: next, line: line})
			l.end = next
		case started && len(indent) > len(l.indent):
			l.pieces[len(l.pieces)-1].end, l.end = next, next
		case len(indent) == 0:
			inList = false
			started = true // a second list under the same key is for the parser to refuse
		case started: // indented less than the items: let the parser find it in the piece
			l.pieces[len(l.pieces)-1].end, l.end = next, next
		}
		if inList && started && !quiet {
			head = append(head, '\n')
		} else {
			head = append(head, data[at:next]...)
		}
		at = next
	}
	l.head = head
	return l
}

func cutIndent(text []byte) (indent, body []byte) {
	body = bytes.TrimLeft(text, " ")
	return text[:len(text)-len(body)], body
}

func isItem(body []byte) bool {
	return body[0] == '-' && (len(body) == 1 || body[1] == ' ')
}

// isListKey reports whether text is "devices:" with nothing but a comment after it.
func isListKey(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, []byte("devices:"))
	if !ok {
		return false
	}
	trimmed := bytes.TrimLeft(rest, " \t")
	return len(trimmed) == 0 || trimmed[0] == '#' && len(trimmed) < len(rest)
}

// lead returns the offset at which the comment lines right above a piece begin: they are about it.
func (l *layout) lead(data []byte, i int) int {
	start := l.pieces[i].start
	for start > 0 {
		before := bytes.LastIndexByte(data[:start-1], '\n') + 1
		indent, body := cutIndent(data[before : start-1])
		if len(body) == 0 || body[0] != '#' || len(indent) != len(l.indent) || i == 0 && before == 0 {
			break
		}
		start = before
	}
	return start
}
