package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Expiries says when certificates end, by a name out of a closed set, such as "dtls_server" or "cse_client". A zero time is
// left out. It is called at every scrape and must not wait.
type Expiries func() map[string]time.Time

// NewExpiryCollector reports when certificates end, so that an alert comes before the outage.
func NewExpiryCollector(ends Expiries) prometheus.Collector { return expiry(ends) }

type expiry Expiries

func expiryDesc() *prometheus.Desc {
	return prometheus.NewDesc("coapbridge_certificate_expiry_timestamp_seconds",
		"End of validity of our own certificates and of the CAs that we trust, in Unix time. certificate: its use in the "+
			"configuration.", []string{"certificate"}, nil)
}

// Describe implements prometheus.Collector.
func (expiry) Describe(ch chan<- *prometheus.Desc) { ch <- expiryDesc() }

// Collect implements prometheus.Collector.
func (e expiry) Collect(ch chan<- prometheus.Metric) {
	desc := expiryDesc()
	for name, end := range e() {
		if !end.IsZero() {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(end.Unix()), name)
		}
	}
}
