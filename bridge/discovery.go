package bridge

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"coapbridge/bridge/onem2m"
	"coapbridge/coap"
)

// Discovery: GET /.well-known/core (RFC 6690) shows whoever asks the resources that it may touch, and of those the ones that
// its query asks for.

const (
	// linkFormat is the Content-Format of application/link-format (RFC 6690, Section 7.3).
	linkFormat = 40
	// oneM2MFormats is ct of a resource that answers in oneM2M's serialisations (RFC 7252, Section 7.2.1).
	oneM2MFormats = "50 60 41"
)

// link is one link of a link-format document.
type link struct {
	path       string // decoded, "/a/b"
	target     string // the same as a URI reference (RFC 3986)
	attributes []linkAttribute
}

// linkAttribute is one target attribute. Value is one of ours: it holds no quotation mark.
type linkAttribute struct {
	name, value string
	flag        bool // it has no value
}

// newLink is the link to the path of to, which is in the form of onem2m.Request.To; false when no path leads there.
func newLink(to string, attributes ...linkAttribute) (link, bool) {
	segments, err := onem2m.Segments(to)
	if err != nil || len(segments) == 0 {
		return link{}, false
	}
	escaped, err := onem2m.AppendPath(nil, to)
	if err != nil {
		return link{}, false
	}
	return link{path: "/" + strings.Join(segments, "/"), target: string(escaped), attributes: attributes}, true
}

// append appends the link as RFC 6690, Section 2 writes it.
func (l link) append(b []byte) []byte {
	b = append(append(append(b, '<'), l.target...), '>')
	for _, a := range l.attributes {
		b = append(append(b, ';'), a.name...)
		if !a.flag {
			b = append(append(append(b, `="`...), a.value...), '"')
		}
	}
	return b
}

// matches reports whether the link has what the query asks for (RFC 6690, Section 4.1): an attribute of that name, one of
// whose blank-separated values is the pattern, or begins as it does when it ends in "*". href stands for the target.
func (l link) matches(name, pattern string) bool {
	prefix, isPrefix := strings.CutSuffix(pattern, "*")
	fits := func(value string) bool { return value == pattern || isPrefix && strings.HasPrefix(value, prefix) }
	if name == "href" {
		return fits(l.path) || fits(l.target)
	}
	return slices.ContainsFunc(l.attributes, func(a linkAttribute) bool {
		if a.name != name {
			return false
		}
		if a.flag {
			return pattern == "" || pattern == "*"
		}
		return fits(a.value) || slices.ContainsFunc(strings.Fields(a.value), fits)
	})
}

// coreQuery returns the filters of a request of /.well-known/core. RFC 6690 has one; of several each must match.
func coreQuery(m *coap.Message) (filters []onem2m.Parameter) {
	for _, o := range m.Options {
		if o.ID == coap.URIQuery {
			name, pattern, _ := strings.Cut(string(o.Value), "=")
			filters = append(filters, onem2m.Parameter{Key: name, Value: pattern})
		}
	}
	return filters
}

// coreAnswer is the answer with those of the links that the filters leave. That none is left is no error (RFC 6690,
// Section 4.1: 2.05 with an empty payload).
func coreAnswer(links []link, filters []onem2m.Parameter) *coap.Message {
	var payload []byte
	for _, l := range links {
		if slices.ContainsFunc(filters, func(p onem2m.Parameter) bool { return !l.matches(p.Key, p.Value) }) {
			continue
		}
		if len(payload) > 0 {
			payload = append(payload, ',')
		}
		payload = l.append(payload)
	}
	answer := &coap.Message{Code: coap.Content, Payload: payload}
	answer.Options = answer.Options.AddUint(coap.ContentFormat, linkFormat).AddUint(coap.MaxAge, 0)
	return answer
}

// coreHere answers GET /.well-known/core where the CSE needn't be asked: with the CSEBase, or where the entry has targets with
// those, for whoever is no plain device, and with nothing for a plain device that has no AE yet or may not read. nil: the CSE
// has to be asked. The answer that nobody's entry or query shapes is made once.
func (b *Bridge) coreHere(dev *Device, cse *CSE, m *coap.Message) *coap.Message {
	switch {
	case !dev.Entity && dev.Profile != ProfileOneM2M && len(dev.Bound) > 0 && (dev.Operations == 0 || dev.Operations.Has(onem2m.Retrieve)):
		return nil
	case !dev.Entity && dev.Profile != ProfileOneM2M:
		return b.cores[nil]
	}
	filters := coreQuery(m)
	if len(dev.Targets) == 0 && len(filters) == 0 {
		return b.cores[cse]
	}
	return coreAnswer(cse.links(dev.Targets), filters)
}

// links are the resources of the CSE that an entry with these targets leads to.
func (c *CSE) links(targets []string) []link {
	if len(targets) == 0 {
		targets = []string{c.Base}
	}
	var links []link
	for _, to := range targets {
		l, ok := newLink(strings.TrimSuffix(c.relative(to), "/"), linkAttribute{name: "ct", value: oneM2MFormats})
		if ok && !slices.ContainsFunc(links, func(other link) bool { return other.target == l.target }) {
			links = append(links, l)
		}
	}
	return links
}

// plainDiscover answers GET /.well-known/core with a plain device's containers.
func (b *Bridge) plainDiscover(ctx context.Context, j *job) {
	filters := coreQuery(j.x.Request())
	answer := coreAnswer(nil, nil)
	if from := b.voice(j); from != "" {
		r := plainRequest(onem2m.Retrieve, from, j.container(0))
		r.Query = []onem2m.Parameter{{Key: "fu", Value: "1"}, {Key: "ty", Value: "3"}, {Key: "drt", Value: "1"}}
		resp, err := b.do(ctx, j, r)
		if err != nil || resp.Status != onem2m.StatusOK && resp.Status != onem2m.StatusNotFound {
			b.endPlain(j, resp, err)
			return
		}
		answer = coreAnswer(j.links(resp.Content), filters)
	}
	b.respond(j.x, answer, 0)
}

// links turns a discovery result, a list of structured addresses, into links relative to the device's AE. A plain device is
// shown what it can ask for by the path that it is shown.
func (j *job) links(content []byte) []link {
	var attributes []linkAttribute
	if j.cse.Downlink != DownlinkOff { // RFC 7641, Section 6
		attributes = []linkAttribute{{name: "obs", flag: true}}
	}
	var links []link
	for _, u := range uriList(content) {
		to := j.cse.relative(u)
		rest, ok := cutSegment(to, j.container(0))
		if !ok || !targetAllowed(j.dev.Targets, j.cse, to) || !IsPlainPath(rest) {
			continue
		}
		if l, ok := newLink(rest, attributes...); ok {
			links = append(links, l)
		}
	}
	return links
}

// uriList reads the answer to a discovery (TS-0004, m2m:URIList).
func uriList(content []byte) (uris []string) {
	var found struct {
		URIs json.RawMessage `json:"m2m:uril"`
	}
	if json.Unmarshal(content, &found) != nil {
		return nil
	}
	if json.Unmarshal(found.URIs, &uris) != nil { // a list in one string, as TS-0004's XML has it
		var list string
		if json.Unmarshal(found.URIs, &list) != nil {
			return nil
		}
		uris = strings.Fields(list)
	}
	return uris
}
