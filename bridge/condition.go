package bridge

import (
	"bytes"
	"context"
	"errors"

	"coapbridge/coap"
)

// conditional reports whether m has If-Match or If-None-Match (RFC 7252, Section 5.10.8).
func conditional(m *coap.Message) bool {
	_, match := m.Options.Find(coap.IfMatch)
	_, none := m.Options.Find(coap.IfNoneMatch)
	return match || none
}

// meetsCondition reports whether j's request may be executed; else j is answered. What is judged is the latest contentInstance of
// the container: If-None-Match asks that there is none, If-Match that there is one, and with a value that it has that ETag.
//
// Deviation: the CSE has no conditional CREATE, so that what is added between the look and the execution isn't seen
// (RFC 7252, Section 5.10.8 has the two as one).
func (b *Bridge) meetsCondition(ctx context.Context, j *job) bool {
	m := j.x.Request()
	if !conditional(m) {
		return true
	}
	i, err := reading{}, errNoInstance
	if from := b.voice(j); from != "" {
		i, err = b.read(ctx, j, from)
	}
	exists := err == nil
	if !exists && !errors.Is(err, errNoInstance) {
		b.endPlain(j, nil, err)
		return false
	}
	if !i.meets(exists, m) {
		b.respond(j.x, explained(m, coap.PreconditionFailed, ""), 0)
		return false
	}
	return true
}

// meets holds the instance, where one exists, against the conditions of m.
func (i reading) meets(exists bool, m *coap.Message) bool {
	asked, matched := false, false
	for _, o := range m.Options {
		switch o.ID {
		case coap.IfNoneMatch:
			if exists {
				return false
			}
		case coap.IfMatch: // RFC 7252, Section 5.10.8.1: one of several is enough; an empty one is for existence alone
			asked = true
			matched = matched || exists && (len(o.Value) == 0 || bytes.Equal(o.Value, i.etag[:]))
		}
	}
	return !asked || matched
}
