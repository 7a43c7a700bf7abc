package onem2m

import (
	"slices"
	"strings"
)

// The keys of the query that have a field of their own in Request.
const (
	keyResponseType = "rt"   // responseTypeValue
	keyOperation    = "op"   // CoAP only, TS-0008, 6.2.2.3
	keyTokens       = "tkns" // CoAP only, TS-0009 has Authorization
)

// validKey reports whether s can be the short name of a parameter or an attribute, with "c." or "p." before it for that of
// a child or the parent (TS-0009, 6.2.2.2).
func validKey(s string) bool {
	if s == "" || len(s) > maxQueryKey {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !unreserved(c) && c != ':' || c == '~' {
			return false
		}
	}
	return true
}

// appendOption appends the parameters of one Uri-Query option. Deviation: TS-0008, 6.2.2.3 has one pair in an option; an "&"
// splits it further when every part is a pair, as several clients send it, and is the value's own otherwise.
func appendOption(query []Parameter, option string) ([]Parameter, error) {
	if strings.IndexByte(option, '&') >= 0 && allPairs(option) {
		for part := range strings.SplitSeq(option, "&") {
			var err error
			if query, err = appendPair(query, part); err != nil {
				return nil, err
			}
		}
		return query, nil
	}
	return appendPair(query, option)
}

func allPairs(option string) bool {
	for part := range strings.SplitSeq(option, "&") {
		key, _, ok := strings.Cut(part, "=")
		if !ok || !validKey(key) {
			return false
		}
	}
	return true
}

func appendPair(query []Parameter, pair string) ([]Parameter, error) {
	key, value, ok := strings.Cut(pair, "=")
	if !ok || !validKey(key) {
		return nil, badRequest("query holds a part that is no key and value")
	}
	if !validValue(value) {
		return nil, badRequest("query value is too long, no UTF-8, or holds a control")
	}
	if len(query) == maxQuery {
		return nil, badRequest("query has too many parameters")
	}
	return append(query, Parameter{key, value}), nil
}

// parseHTTPQuery reads the query of a request-target. "+" stays what it is: oneM2M's list separator, no blank. Deviation: so
// does "%2B", because CoAP's query has no second form for it.
func parseHTTPQuery(raw string) ([]Parameter, error) {
	if raw == "" {
		return nil, nil
	}
	if strings.Count(raw, "&") >= maxQuery {
		return nil, badRequest("query has too many parameters")
	}
	query := make([]Parameter, 0, strings.Count(raw, "&")+1)
	for part := range strings.SplitSeq(raw, "&") {
		key, value, _ := strings.Cut(part, "=")
		key, keyOK := unescape(key)
		value, valueOK := unescape(value)
		if !keyOK || !valueOK {
			return nil, badRequest("query holds a broken percent-encoding")
		}
		var err error
		if query, err = appendPair(query, key+"="+value); err != nil {
			return nil, err
		}
	}
	return query, nil
}

// takeQuery moves the parameters that have a field of their own out of query, and keeps the others. It returns the value of
// op; 0 when there is none.
func (r *Request) takeQuery(query []Parameter) (op Operation, err error) {
	kept := query[:0]
	for _, q := range query {
		switch q.Key {
		case keyResponseType:
			if r.ResponseType != 0 || len(q.Value) != 1 || q.Value[0] < '1' || q.Value[0] > '5' {
				return 0, badRequest("rt is repeated or unknown") // TS-0004, 6.3.4.2.6
			}
			r.ResponseType = ResponseType(q.Value[0] - '0')
		case keyOperation:
			if op != 0 || len(q.Value) != 1 || q.Value[0] < '1' || q.Value[0] > '5' {
				return 0, badRequest("op is repeated or unknown") // TS-0004, 6.3.4.2.5
			}
			op = Operation(q.Value[0] - '0')
		case keyTokens:
			if r.Tokens, err = appendTokens(r.Tokens, q.Value); err != nil {
				return 0, err
			}
		default:
			kept = append(kept, q)
		}
	}
	if len(kept) > 0 {
		r.Query = kept
	}
	return op, nil
}

// appendTokens appends the tokens of a "+" separated list.
func appendTokens(tokens []string, list string) ([]string, error) {
	for token := range strings.SplitSeq(list, "+") {
		if !validToken(token) || len(tokens) == maxTokens {
			return nil, badRequest("token is malformed, or there are too many")
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// checkQuery judges what is about to be written: nothing in it may be taken for another parameter.
func (r *Request) checkQuery() error {
	if len(r.Query) > maxQuery || len(r.Tokens) > maxTokens {
		return badRequest("query has too many parameters")
	}
	for _, q := range r.Query {
		if !validKey(q.Key) || !validValue(q.Value) {
			return badRequest("query holds an invalid key or value")
		}
		if q.Key == keyResponseType || q.Key == keyOperation || q.Key == keyTokens {
			return badRequest("query holds a parameter that has its own field")
		}
	}
	if slices.ContainsFunc(r.Tokens, func(t string) bool { return !validToken(t) }) {
		return badRequest("token is malformed")
	}
	return nil
}

// queryOptions calls add with the text of each Uri-Query option of r, in their order. op is 0 to leave it out.
func (r *Request) queryOptions(op Operation, add func(string)) error {
	if r.ResponseType != 0 {
		add(keyResponseType + "=" + string('0'+rune(r.ResponseType)))
	}
	if op != 0 {
		add(keyOperation + "=" + string('0'+rune(op)))
	}
	for _, q := range r.Query {
		option := q.Key + "=" + q.Value
		if len(option) > maxOptionString {
			return notCarried("query parameter is too long for a Uri-Query option") // RFC 7252, table 4
		}
		if strings.IndexByte(option, '&') >= 0 && allPairs(option) {
			return notCarried("query value would be read as several parameters")
		}
		add(option)
	}
	if len(r.Tokens) > 0 {
		option := keyTokens + "=" + strings.Join(r.Tokens, "+")
		if len(option) > maxOptionString {
			return notCarried("tokens are too long for a Uri-Query option")
		}
		add(option)
	}
	return nil
}

// appendHTTPQuery appends the query of r, "?" included, each key and value encoded once.
func (r *Request) appendHTTPQuery(b []byte, tokens bool) []byte {
	separator := byte('?')
	pair := func(key, value string) {
		b = append(b, separator)
		b = append(appendEscaped(b, key, 0), '=')
		b = appendEscaped(b, value, '+') // oneM2M's list separator, TS-0009, 6.2.2.2
		separator = '&'
	}
	if r.ResponseType != 0 {
		pair(keyResponseType, string('0'+rune(r.ResponseType)))
	}
	for _, q := range r.Query {
		pair(q.Key, q.Value)
	}
	if tokens && len(r.Tokens) > 0 {
		pair(keyTokens, strings.Join(r.Tokens, "+"))
	}
	return b
}
