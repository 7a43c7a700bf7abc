package dtls

import "github.com/pion/logging"

// pionLog is the logger of one pion Conn. Nothing of it is printed: pion's lines name addresses and happen per packet. It
// is the one place where pion says that it dropped a record and why, so that the records can be counted; its format
// strings are constants of the version that go.mod pins, and TestD01 fails when they change.
type pionLog struct{ h *handshake }

var _ logging.LoggerFactory = pionLog{}

// NewLogger implements logging.LoggerFactory.
func (l pionLog) NewLogger(string) logging.LeveledLogger { return l }

// Debugf implements logging.LeveledLogger.
func (l pionLog) Debugf(format string, _ ...any) {
	c := l.h.live.Load()
	if c == nil {
		return
	}
	switch format {
	case "discarded duplicated packet (epoch: %d, seq: %d)":
		c.ep.count.drop(DropReplay)
	case "%s: decrypt failed: %s":
		c.notOpened()
	}
}

// The rest of logging.LeveledLogger.
func (pionLog) Trace(string)          {}
func (pionLog) Tracef(string, ...any) {}
func (pionLog) Debug(string)          {}
func (pionLog) Info(string)           {}
func (pionLog) Infof(string, ...any)  {}
func (pionLog) Warn(string)           {}
func (pionLog) Warnf(string, ...any)  {}
func (pionLog) Error(string)          {}
func (pionLog) Errorf(string, ...any) {}
