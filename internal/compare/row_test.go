package compare

import (
	"regexp"
	"strings"
	"testing"
)

// Operations, with their values (TS-0004, 6.3.4.2.5).
const (
	create   = 1
	retrieve = 2
	update   = 3
	remove   = 4
	notify   = 5
)

// request is a request primitive. Its texts may hold words in braces, which stand for what belongs to a side: {side} the
// twins' name, {me} its AE-ID, {ae} its AE, {cse} the CSEBase, {name.attribute} what an earlier answer held.
type request struct {
	op     int
	to     string // as in the primitive; see target
	ty     int
	query  []string // "key=value", not encoded
	body   string
	media  string // of body; "" is JSON
	accept string // "" for none
	from   string // "" is {me}, absent leaves it out
	rvi    string // "" is "3", absent leaves it out
	rqi    string // "" is a fresh one, absent leaves it out
	more   [][2]string
	// more are further parameters by their short names: ot, nu (Response Type's notificationURI), rqet, rset, oet, ec, gid,
	// vsi, aus, tkns. They may be empty.
}

// absent is the value of a mandatory parameter that is left out.
const absent = "(absent)"

// row is one request of the table, and what the answer to it is for.
type row struct {
	name string
	request
	want int    // ResponseStatusCode that the CSE answers to the direct client
	keep string // under which name later rows find the answer's attributes
	// until repeats the request until the content of its answer, without blanks, holds this text: a non-blocking request
	// takes its time.
	until string
}

// side is one of the two that do the same.
type side struct {
	name  string // of its twins; all sides' names are of equal length, so that sizes are equal too
	do    func(t *testing.T, r *request) *answer
	words map[string]string
	ids   map[string]string // what the CSE named, and its stand-in
	said  string            // the bodies of its requests
	ears  *ears             // where the CSE reaches it
	told  int               // notifications that were compared
}

func newSide(name string, do func(*testing.T, *request) *answer, hears *ears) *side {
	return &side{name: name, do: do, ears: hears, ids: map[string]string{}, words: map[string]string{
		"side": name, "me": "C" + name, "ae": "cse-in/" + name, "cse": "cse-in",
	}}
}

// expand puts the side's words into r.
func (s *side) expand(r request, number string) *request {
	word := regexp.MustCompile(`\{[a-z0-9]+(\.[a-z]+)?\}`)
	put := func(text string) string {
		return word.ReplaceAllStringFunc(text, func(w string) string {
			if value, known := s.words[strings.Trim(w, "{}")]; known {
				return value
			}
			return "unknown" // the row that should have told was refused, which its own line shows
		})
	}
	r.to, r.body = put(r.to), put(r.body)
	if r.from == "" {
		r.from = "{me}"
	}
	r.from = put(r.from)
	if r.rvi == "" {
		r.rvi = "3"
	}
	if r.rqi == "" {
		r.rqi = "rqi-" + s.name + "-" + number
	}
	if r.media == "" && r.body != "" {
		r.media = "application/json"
	}
	query := make([]string, 0, len(r.query))
	for _, q := range r.query {
		query = append(query, put(q))
	}
	r.query = query
	more := make([][2]string, 0, len(r.more))
	for _, m := range r.more {
		more = append(more, [2]string{m[0], put(m[1])})
	}
	r.more = more
	return &r
}

// queried returns r's query key, "" when it has none.
func (r *request) queried(key string) string {
	for _, q := range r.query {
		if v, ok := strings.CutPrefix(q, key+"="); ok {
			return v
		}
	}
	return ""
}

// answer is a response primitive, as it stood on the wire.
type answer struct {
	code    string            // CoAP code or HTTP status
	params  map[string]string // by short name; "created" is the created resource's URI in the form of To
	media   string
	content []byte
}
