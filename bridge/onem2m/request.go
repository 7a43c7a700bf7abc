package onem2m

import (
	"strings"
	"time"
)

// releaseVersions are the values of the Release Version Indicator (TS-0004, 6.3.4.2.60); "" is Release 1, which has none.
func knownRelease(s string) bool {
	switch s {
	case "", "1", "2", "2a", "3", "4", "5":
		return true
	}
	return false
}

// nonBlocking reports whether the Response Type asks for an answer before the result (TS-0001, 8.2.2).
func (r *Request) nonBlocking() bool {
	return r.ResponseType == NonBlockingSynch || r.ResponseType == NonBlockingAsynch || r.ResponseType == FlexBlocking
}

// Deadline returns the earlier of latest and r's Request Expiration Timestamp, read at now. The error is an *Error with 4000.
func (r *Request) Deadline(now, latest time.Time) (time.Time, error) {
	if r.RequestExpiration == "" {
		return latest, nil
	}
	at, err := ParseTimestamp(r.RequestExpiration, now)
	if err != nil || at.After(latest) {
		return latest, err
	}
	return at, nil
}

// check judges a primitive, whichever binding it came from or goes to.
func (r *Request) check() error {
	switch {
	case r.Operation < Create || r.Operation > Notify:
		return badRequest("Operation is missing or unknown")
	case r.RequestID == "":
		return badRequest("Request Identifier is missing") // TS-0004, 7.3.2.1
	case !knownRelease(r.ReleaseVersion):
		return refuse(StatusReleaseVersionNotSupported, "Release Version Indicator is unknown")
	case r.Operation == Create && r.ResourceType == 0:
		return badRequest("Resource Type is missing")
	case r.Operation != Create && r.ResourceType != 0:
		return badRequest("Resource Type stands in another request than CREATE")
	case r.From == "" && (r.Operation != Create || r.ResourceType != TypeAE): // TS-0001, 10.2.2.2
		return badRequest("From is missing")
	case len(r.Content) > 0 && (r.Operation == Retrieve || r.Operation == Delete):
		return badRequest("RETRIEVE or DELETE has Content")
	case len(r.Content) > 0 && formatOfMedia(r.MediaType) == nil:
		return refuse(StatusUnsupportedMediaType, "media type of the Content is missing or unknown")
	case len(r.Accept) > maxAccept:
		return badRequest("Accept has too many media types")
	}
	return r.checkConditions()
}

// checkOutgoing is check for a primitive that is about to be written, whose fields may come from anywhere.
func (r *Request) checkOutgoing() error {
	if err := r.check(); err != nil {
		return err
	}
	if r.ResponseType > NoResponse || r.EventCategory > maxEventCategory || r.ResourceType > maxResourceType {
		return badRequest("a number is out of range")
	}
	if len(r.NotificationURIs) > maxMembers {
		return badRequest("notificationURI has too many members")
	}
	for _, uri := range r.NotificationURIs {
		if uri == "" || strings.IndexByte(uri, '&') >= 0 { // the list's separator, TS-0009, 6.4.5
			return notCarried("notificationURI can't stand in a list")
		}
	}
	for _, media := range r.Accept {
		if media == "" || !validText(media) || strings.ContainsAny(media, ",;") {
			return badRequest("Accept holds no media type")
		}
	}
	return r.checkQuery()
}
