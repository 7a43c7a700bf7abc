package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"coapbridge/bridge/onem2m"
)

// What a CSE chooses is named alike on both sides, by these rules, and then compared:
//
//   - a resource identifier (ri) or a name (rn) that the CSE chose becomes <id n>, n counting them in the order in which the
//     side met them. So a pi must still point at the same resource, and a list must have the same order;
//   - a side's own name becomes SIDE, where it hears <ears>, and an address with a token of the bridge's <the bridge>;
//   - a timestamp that was not in the request becomes its distance from now in hours, and the digits of its fraction;
//   - the Request Identifier, which must be the request's own, becomes <asked>;
//   - a code that is the one of the tables for the ResponseStatusCode becomes <of the tables>.

// normal is an answer in which what differs between twins by rule is named alike.
func (s *side) normal(r *request, a *answer) map[string]string {
	s.said += r.body
	s.learn(a)
	media := strings.ToLower(a.media)
	if media == "" && len(a.content) > 0 {
		media = "none, though there is content" // which no difference in what names an empty body explains
	}
	fields := map[string]string{
		"media": media, "content": s.text(r, string(a.content)), "code": codeOf(r, a),
	}
	for name, value := range a.params {
		switch {
		case name == "rqi" && value == r.rqi:
			value = "<asked>"
		default:
			value = s.text(r, value)
		}
		fields[name] = value
	}
	return fields
}

// codeOf compares the transport's code with TS-0008, table 6.2.4-1 and TS-0009, table 6.3.2-1.
func codeOf(r *request, a *answer) string {
	rsc, err := strconv.ParseUint(a.params["rsc"], 10, 16)
	if err != nil {
		return a.code
	}
	status := onem2m.StatusCode(rsc)
	ofCoAP := status.CoAP().String()
	switch {
	case status == onem2m.StatusOK && r.op == notify:
		ofCoAP = "2.04"
	case status == onem2m.StatusAcceptedNonBlockingAsynch && a.params["created"] != "":
		ofCoAP = "2.01"
	}
	if a.code == ofCoAP || a.code == strconv.Itoa(status.HTTP()) {
		return "<of the tables>"
	}
	return a.code
}

// learn gives every identifier that a names for the first time its stand-in.
func (s *side) learn(a *answer) {
	var v any
	if json.Unmarshal(a.content, &v) != nil && cbor.Unmarshal(a.content, &v) != nil {
		return
	}
	s.walk(v)
}

func (s *side) walk(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			s.walk(e)
		}
	case map[any]any: // CBOR
		named := map[string]any{}
		for k, e := range v {
			named[fmt.Sprint(k)] = e
		}
		s.walk(named)
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			id, isText := v[name].(string)
			if chosen := name == "ri" || name == "rn" || name == "aei" || name == "m2m:uri"; chosen && isText {
				s.choose(id)
			}
			s.walk(v[name])
		}
	}
}

// choose names an identifier, unless the side chose it itself: those hold its name, or stood in a request.
func (s *side) choose(id string) {
	id = id[strings.LastIndexByte(id, '/')+1:]
	inCBOR := string([]byte{cborText | byte(len(id))}) + id
	if strings.Contains(id, s.name) || strings.Contains(s.said, `"`+id+`"`) || strings.Contains(s.said, inCBOR) ||
		id == "cse-in" || id == "id-in" {
		return
	}
	if _, known := s.ids[id]; !known {
		s.ids[id] = fmt.Sprintf("<id %d>", len(s.ids)+1)
	}
}

// cborText begins a text of up to 23 bytes (RFC 8949, Section 3.1).
const cborText = 0x60

// text names what is volatile in a text.
func (s *side) text(r *request, text string) string {
	ids := make([]string, 0, len(s.ids))
	for id := range s.ids {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return len(b) - len(a) }) // one may begin with another
	for _, id := range ids {
		text = strings.ReplaceAll(text, id, s.ids[id])
	}
	text = strings.ReplaceAll(text, s.name, "SIDE")
	text = regexp.MustCompile(`https://127\.0\.0\.1:[0-9]+/[A-Za-z0-9_-]{22}\b`).ReplaceAllString(text, "<the bridge>")
	text = strings.ReplaceAll(text, s.words["ears"], "<ears>")
	stamp := regexp.MustCompile(`[0-9]{8}T[0-9]{6}((,|%2C)[0-9]+)?`)
	return stamp.ReplaceAllStringFunc(text, func(at string) string {
		whole, fraction, _ := strings.Cut(strings.Replace(at, "%2C", ",", 1), ",")
		moment, err := time.Parse("20060102T150405", whole)
		if err != nil || given(r, at) {
			return at
		}
		hours := int(time.Until(moment).Round(time.Hour).Hours())
		return fmt.Sprintf("<now%+dh,%d digits>", hours, len(fraction))
	})
}

// given reports whether a timestamp is what a row says, whenever it runs.
func given(r *request, at string) bool {
	return strings.Contains(r.body, at) || at == past || at >= "2099"
}

// remember keeps the attributes of the answer's resource for later rows.
func (s *side) remember(name string, a *answer) {
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(a.content))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return
	}
	for root, content := range v {
		if uri, ok := content.(string); ok && root == "m2m:uri" {
			s.words[name+".uri"] = uri
		}
		attributes, _ := content.(map[string]any)
		for attribute, value := range attributes {
			s.words[name+"."+attribute] = fmt.Sprint(value)
		}
	}
}
