package onem2m

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// fetch completes r from the whole primitive in the payload of a Release 5 FETCH (TS-0008, 6.6). r holds what the options
// say, which the payload may repeat but not contradict. The result is as if the parameters had come in options. Deviation:
// XML is 4015.
func (r *Request) fetch(payload []byte, media string, explicit Operation) (*Request, error) {
	if explicit != 0 && explicit != Retrieve {
		return nil, badRequest("op contradicts the method")
	}
	members, err := wholePrimitive(payload, media)
	if err != nil {
		return nil, err
	}
	options := Request{ResponseType: r.ResponseType, Tokens: r.Tokens, Query: r.Query}
	r.ResponseType, r.Tokens, r.Query = 0, nil, nil
	// In the order of their names, so that a primitive is always read the same way.
	for _, name := range sortedNames(members) {
		if err := r.fetchMember(name, members[name]); err != nil {
			return nil, err
		}
	}
	if err := r.fetchBeside(&options); err != nil {
		return nil, err
	}
	r.Operation = Retrieve
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// wholePrimitive returns the parameters of a request primitive in JSON or CBOR by their short names.
func wholePrimitive(payload []byte, media string) (map[string]any, error) {
	f := formatOfMedia(media)
	if f == nil || f.family == familyXML {
		return nil, refuse(StatusUnsupportedMediaType, "primitive is neither JSON nor CBOR")
	}
	tree, err := parseTree(payload, f.family)
	if err != nil {
		return nil, err
	}
	members, ok := tree.(map[string]any)
	if inner, wrapped := members["m2m:rqp"].(map[string]any); ok && wrapped && len(members) == 1 {
		members = inner
	}
	if !ok || members == nil {
		return nil, badRequest("payload is no primitive")
	}
	return members, nil
}

// fetchBeside adds what the Uri-Query options say, and the primitive does not.
func (r *Request) fetchBeside(options *Request) error {
	const bad = "primitive contradicts Uri-Query"
	if options.ResponseType != 0 {
		if r.ResponseType != 0 && r.ResponseType != options.ResponseType {
			return badRequest(bad)
		}
		r.ResponseType = options.ResponseType
	}
	if options.Tokens != nil {
		if r.Tokens != nil && !slices.Equal(r.Tokens, options.Tokens) {
			return badRequest(bad)
		}
		r.Tokens = options.Tokens
	}
	var beside []Parameter
	for _, q := range options.Query {
		said, there := valuesOf(r.Query, q.Key)
		if !there {
			beside = append(beside, q)
		} else if before, _ := valuesOf(options.Query, q.Key); before != said {
			return badRequest(bad)
		}
	}
	if len(beside)+len(r.Query) > maxQuery {
		return badRequest("query has too many parameters")
	}
	r.Query = append(beside, r.Query...)
	return nil
}

// valuesOf returns the values of key as one list; a key that is repeated stands for a list too (TS-0009, 6.2.2.2).
func valuesOf(query []Parameter, key string) (list string, there bool) {
	for _, q := range query {
		switch {
		case q.Key != key:
		case there:
			list += "+" + q.Value
		default:
			list, there = q.Value, true
		}
	}
	return list, there
}

func sortedNames(members map[string]any) []string {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fetchMember takes one parameter by its short name (TS-0004, table 8.2.2-1).
func (r *Request) fetchMember(name string, v any) error {
	switch name {
	case "op":
		if s, ok := scalar(v); !ok || s != "2" {
			return badRequest("op contradicts the method")
		}
		return nil
	case "to":
		return r.fetchTo(v)
	case "rt":
		return r.fetchResponseType(v)
	case "fc":
		return r.fetchFilter(v)
	case "pc":
		return r.fetchContent(v)
	case keyTokens:
		list, ok := joined(v)
		if !ok {
			return badRequest("tkns is malformed")
		}
		var err error
		r.Tokens, err = appendTokens(r.Tokens, list)
		return err
	case "nu":
		return badRequest("nu stands outside rt")
	}
	for i := range parameters {
		if row := &parameters[i]; row.name == name {
			return r.fetchParameter(row, v)
		}
	}
	if !slices.Contains(queryParameters[:], name) { // in the query it would become a criterion
		return notCarried("parameter of the primitive is unknown")
	}
	return r.fetchQuery(name, v)
}

// queryParameters are the parameters of a request, beside fc, that travel in the query and have no field of their own
// (TS-0004, table 8.2.2-1).
var queryParameters = [...]string{"rp", "da", "rcn", "drt", "tids", "ltids", "rids", "tqi", "auri", "asi", "sqi"}

// ownCriteria are the filter criteria whose key in the query is not that of an attribute with the same meaning.
var ownCriteria = [...]string{"crb", "cra", "ms", "us", "exb", "exa", "sts", "stb", "sza", "szb", "fu", "fo", "lim", "lvl", "ofst",
	"cfs", "cfq", "smf", "arp"}

// ownKey reports whether key, in the query, is a parameter of the request's and no criterion.
func ownKey(key string) bool {
	switch key {
	case keyOperation, keyResponseType, keyTokens, "atrl":
		return true
	}
	return slices.Contains(queryParameters[:], key)
}

// fetchParameter takes a parameter that has an option.
func (r *Request) fetchParameter(row *parameter, v any) error {
	s, ok := joined(v)
	if !ok {
		return badRequest("parameter of the primitive is malformed")
	}
	switch {
	case row.request.text != nil:
		if before, there := row.request.text.get(r); there && before != s {
			return badRequest("primitive contradicts an option")
		}
		if !validText(s) || !row.request.text.set(r, s) {
			return badRequest("parameter of the primitive is malformed")
		}
		return nil
	case row.request.number != nil:
		n, ok := parseNumber(s)
		if before, there := row.request.number.get(r); !ok || there && before != n || !row.request.number.set(r, n) {
			return badRequest("number of the primitive is malformed, or contradicts an option")
		}
		return nil
	}
	return badRequest("parameter is a response's")
}

// fetchTo takes To, of which "#attribute" asks for that attribute alone. Deviation: TS-0009, 6.2.2.2 says fragment, and shows
// atrl in the query, as here.
func (r *Request) fetchTo(v any) error {
	to, ok := v.(string)
	if !ok || to == "" {
		return badRequest("to is malformed")
	}
	to, attribute, partial := strings.Cut(to, "#")
	segments, err := Segments(to)
	if err != nil {
		return err
	}
	if to, err = JoinSegments(segments); err != nil {
		return err
	}
	if r.To != "" && r.To != to {
		return badRequest("primitive contradicts Uri-Path")
	}
	r.To = to
	if partial {
		return r.fetchQuery("atrl", attribute)
	}
	return nil
}

// fetchResponseType takes {"rtv": n, "nu": [...]}, or the bare number that some write.
func (r *Request) fetchResponseType(v any) error {
	value := v
	if members, ok := v.(map[string]any); ok {
		value = members["rtv"]
		if list, there := members["nu"]; there {
			before := r.NotificationURIs
			s, ok := joinedBy(list, "&")
			if !ok || !validText(s) || !setNotificationURIs(r, s) {
				return badRequest("notificationURI is malformed")
			}
			if before != nil && !slices.Equal(before, r.NotificationURIs) {
				return badRequest("primitive contradicts an option")
			}
		}
	}
	s, ok := scalar(value)
	if !ok {
		return badRequest("rt is malformed")
	}
	_, err := r.takeQueryKeeping([]Parameter{{keyResponseType, s}})
	return err
}

// takeQueryKeeping is takeQuery that keeps what r.Query holds already.
func (r *Request) takeQueryKeeping(query []Parameter) (Operation, error) {
	before := r.Query
	r.Query = nil
	op, err := r.takeQuery(query)
	r.Query = append(before, r.Query...)
	return op, err
}

// fetchQuery takes a parameter that travels in the query.
func (r *Request) fetchQuery(name string, v any) error {
	s, ok := joined(v)
	if !ok {
		return notCarried("parameter of the primitive has no form in a query")
	}
	query, err := appendPair(r.Query, name+"="+s)
	if err != nil {
		return err
	}
	r.Query = query
	return nil
}

// fetchFilter flattens Filter Criteria (TS-0004, 6.3.5.8) into the query's form (TS-0009, table 6.2.2.2-1).
func (r *Request) fetchFilter(v any) error {
	criteria, ok := v.(map[string]any)
	if !ok {
		return badRequest("fc is malformed")
	}
	for _, name := range sortedNames(criteria) {
		prefix := ""
		switch {
		case name == "atr":
		case name == "catr":
			prefix = "c."
		case name == "patr":
			prefix = "p."
		case ownKey(name):
			return badRequest("fc holds another parameter")
		default:
			if err := r.fetchQuery(name, criteria[name]); err != nil {
				return err
			}
			continue
		}
		if err := r.fetchAttributes(prefix, criteria[name]); err != nil {
			return err
		}
	}
	return nil
}

// fetchAttributes takes a list of {"nm": name, "val": value}.
func (r *Request) fetchAttributes(prefix string, v any) error {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) > maxAttribute {
		return badRequest("fc has too many attributes")
	}
	for _, item := range list {
		attribute, _ := item.(map[string]any)
		name, ok := attribute["nm"].(string)
		if !ok || len(attribute) != 2 {
			return badRequest("attribute of fc is malformed")
		}
		if name = prefix + name; ownKey(name) || slices.Contains(ownCriteria[:], name) {
			return notCarried("attribute's name is a parameter's in the query")
		}
		if err := r.fetchQuery(name, attribute["val"]); err != nil {
			return err
		}
	}
	return nil
}

// fetchContent takes the Content of a RETRIEVE: a list of attributes (TS-0004, 7.4.1), which is atrl in a query.
func (r *Request) fetchContent(v any) error {
	members, _ := v.(map[string]any)
	list, ok := members["m2m:atrl"]
	if !ok || len(members) != 1 {
		return badRequest("content of a RETRIEVE is no list of attributes")
	}
	return r.fetchQuery("atrl", list)
}

// joined returns a scalar, or a list of them as the query has it.
func joined(v any) (string, bool) { return joinedBy(v, "+") }

func joinedBy(v any, separator string) (string, bool) {
	list, ok := v.([]any)
	if !ok {
		return scalar(v)
	}
	parts := make([]string, len(list))
	for i, item := range list {
		s, ok := scalar(item)
		if !ok || s == "" || strings.Contains(s, separator) { // it would become two
			return "", false
		}
		parts[i] = s
	}
	return strings.Join(parts, separator), true
}

// scalar returns the text of a string, a number or a truth value. A whole number with a fraction of zeros, which some
// write, is the whole number.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		whole, fraction, _ := strings.Cut(v.String(), ".")
		if strings.Trim(fraction, "0") == "" {
			return whole, true
		}
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}
