package bridge

// ObserveEvent is what can happen to observations (RFC 7641), in either direction. The values are metric labels.
type ObserveEvent string

// The events. Those of a plain device or client that observes:
const (
	ObserveRegistered        ObserveEvent = "registered"
	ObserveLimited           ObserveEvent = "limited"            // answered as a GET without Observe: too many
	ObserveFailed            ObserveEvent = "failed"             // answered as a GET without Observe: no subscription
	ObserveNotified          ObserveEvent = "notified"           // handed to an observer
	ObserveUnsent            ObserveEvent = "unsent"             // the observer was gone, or could not be sent it
	ObserveOvertaken         ObserveEvent = "overtaken"          // by a newer one, before anybody was told
	ObserveUnreadable        ObserveEvent = "unreadable"         // a notification without a contentInstance
	ObserveCancelled         ObserveEvent = "cancelled"          // by the observer, or by an error that it was told
	ObserveReset             ObserveEvent = "reset"              // by a Reset
	ObserveTimeout           ObserveEvent = "timeout"            // no acknowledgement
	ObserveClosed            ObserveEvent = "closed"             // with the session
	ObserveReplaced          ObserveEvent = "replaced"           // the token observes something else
	ObserveNoRoom            ObserveEvent = "no_room"            // no room for the notifications
	ObserveForbidden         ObserveEvent = "forbidden"          // the right was lost
	ObserveFormat            ObserveEvent = "format"             // another Content-Format than the first one
	ObserveUnsubscribed      ObserveEvent = "unsubscribed"       // the subscription at the CSE was removed
	ObserveUnsubscribeFailed ObserveEvent = "unsubscribe_failed" // given up: its next notification has it removed
	ObserveStale             ObserveEvent = "stale"              // a notification of a subscription that nobody knows
)

// Those of a plain device's resource that the bridge observes:
const (
	RelayStarted      ObserveEvent = "relay_started"
	RelayEnded        ObserveEvent = "relay_ended"
	RelayUnobservable ObserveEvent = "relay_unobservable" // the device doesn't take observers for it
	RelayFailed       ObserveEvent = "relay_failed"       // no answer, or an error
	RelayUnreached    ObserveEvent = "relay_unreached"    // the device was dialled, and no session made
	RelayStored       ObserveEvent = "relay_stored"       // a contentInstance was made
	RelayLost         ObserveEvent = "relay_lost"         // a state that became no contentInstance
	RelayOvertaken    ObserveEvent = "relay_overtaken"    // by a newer one, before a worker was free
)

// ObserveEvents returns all of them.
func ObserveEvents() []ObserveEvent {
	return []ObserveEvent{
		ObserveRegistered, ObserveLimited, ObserveFailed, ObserveNotified, ObserveUnsent, ObserveOvertaken, ObserveUnreadable,
		ObserveCancelled, ObserveReset, ObserveTimeout, ObserveClosed, ObserveReplaced, ObserveNoRoom, ObserveForbidden,
		ObserveFormat, ObserveUnsubscribed, ObserveUnsubscribeFailed, ObserveStale,
		RelayStarted, RelayEnded, RelayUnobservable, RelayFailed, RelayUnreached, RelayStored, RelayLost, RelayOvertaken,
	}
}
