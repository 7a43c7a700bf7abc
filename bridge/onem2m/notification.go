package onem2m

import "strings"

// NotificationEvent is a notificationEventType (TS-0004, 6.3.4.2.19).
type NotificationEvent uint8

// The events that this project names.
const (
	EventUpdate      NotificationEvent = 1
	EventDelete      NotificationEvent = 2
	EventCreateChild NotificationEvent = 3
	EventDeleteChild NotificationEvent = 4
)

// NotificationContent is a notificationContentType (TS-0004, 6.3.4.2.18); 0 leaves the choice to the CSE.
type NotificationContent uint8

// The contents of a notification.
const (
	ContentAllAttributes      NotificationContent = 1
	ContentModifiedAttributes NotificationContent = 2
	ContentResourceID         NotificationContent = 3
)

// Subscription is what a subscription is created with (TS-0001, 9.6.8).
type Subscription struct {
	Name             string              // rn; "" leaves it to the CSE
	NotificationURIs []string            // nu: AE-IDs or resource identifiers
	Events           []NotificationEvent // enc, net; nil leaves it to the CSE
	ContentType      NotificationContent // nct
}

// EncodeSubscription returns the representation of a subscription in JSON.
func EncodeSubscription(s Subscription) ([]byte, error) {
	type criteria struct {
		Events []uint16 `json:"net"` // one byte each would become Base64
	}
	var enc *criteria
	if len(s.Events) > 0 {
		enc = &criteria{}
		for _, e := range s.Events {
			enc.Events = append(enc.Events, uint16(e))
		}
	}
	return encode("m2m:sub", struct {
		Name             string              `json:"rn,omitempty"`
		NotificationURIs []string            `json:"nu"`
		Criteria         *criteria           `json:"enc,omitempty"`
		ContentType      NotificationContent `json:"nct,omitempty"`
	}{s.Name, s.NotificationURIs, enc, s.ContentType})
}

// Notification is what a CSE tells a subscriber (TS-0004, 7.5.1.1). A field's zero value means that the member is absent.
type Notification struct {
	Subscription   string            // sur: whose notification it is
	Verification   bool              // vrq: asks only whether it may be sent here
	Deleted        bool              // sud: the subscription is gone
	Creator        string            // cr, in a verification
	Event          NotificationEvent // net
	Representation []byte            // rep, a part of content: an object with the resource's root as its member
}

// DecodeNotification reads one notification (root m2m:sgn) in JSON or CBOR. ok is false when content is something else, such
// as a batch (m2m:agn), or malformed, or past the bounds of limits.go. Whole numbers with a fraction of zeros, which a CSE is
// known to write, are taken.
func DecodeNotification(content []byte, media string) (n Notification, ok bool) {
	f := familyOf(media)
	if f != familyJSON && f != familyCBOR {
		return Notification{}, false
	}
	spans, err := spansOf(content, f)
	if err != nil {
		return Notification{}, false
	}
	const root = 1
	if spans[0].kind != kindObject || len(spans) == 1 || spans[root].next != len(spans) || spans[root].kind != kindObject ||
		spans[root].key != "m2m:sgn" && spans[root].key != "sgn" {
		return Notification{}, false
	}
	r := memberReader{content: content, f: f, spans: spans}
	n.Subscription = r.text(root, "sur")
	n.Creator = r.text(root, "cr")
	n.Verification = r.truth(root, "vrq")
	n.Deleted = r.truth(root, "sud")
	if event := memberOf(spans, root, "nev"); event >= 0 {
		if net := r.number(event, "net"); net <= 0xff {
			n.Event = NotificationEvent(net)
		}
		if rep := memberOf(spans, event, "rep"); rep >= 0 && spans[rep].kind == kindObject {
			n.Representation = content[spans[rep].start:spans[rep].end:spans[rep].end]
		}
	}
	return n, !r.bad
}

// memberReader reads members of maps; bad is set by one that is there and isn't of its type.
type memberReader struct {
	content []byte
	f       family
	spans   []span
	bad     bool
}

func (r *memberReader) text(at int, name string) string {
	i := memberOf(r.spans, at, name)
	if i < 0 {
		return ""
	}
	s, ok := textOf(r.content, r.f, &r.spans[i])
	if !ok || !validText(s) {
		r.bad = true
	}
	return s
}

// plain returns the value of a member as scalar does; "" when it is absent.
func (r *memberReader) plain(at int, name string) string {
	i := memberOf(r.spans, at, name)
	if i < 0 {
		return ""
	}
	v, err := parseTree(r.content[r.spans[i].start:r.spans[i].end], r.f)
	s, ok := scalar(v)
	if err != nil || !ok {
		r.bad = true
	}
	return s
}

func (r *memberReader) truth(at int, name string) bool {
	switch s := strings.ToLower(r.plain(at, name)); s {
	case "true", "1":
		return true
	case "", "false", "0":
	default:
		r.bad = true
	}
	return false
}

func (r *memberReader) number(at int, name string) uint32 {
	s := r.plain(at, name)
	if s == "" {
		return 0
	}
	n, ok := parseNumber(s)
	if !ok {
		r.bad = true
	}
	return n
}
