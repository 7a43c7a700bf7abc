package admin

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// statsCollector turns a package's Stats into metrics: one snapshot at each scrape, so that counting costs the packages
// nothing more than they do anyway.
type statsCollector[T any] struct {
	snapshot func() T
	metrics  []statsMetric[T]
}

// statsMetric is one metric of a Stats type.
type statsMetric[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	send func(s T, add func(v float64, labels ...string)) // calls add once for each set of label values
}

// counter describes a counter; help names the closed set of each label.
func counter[T any](name, help string, labels []string, send func(T, func(float64, ...string))) statsMetric[T] {
	return statsMetric[T]{prometheus.NewDesc("coapbridge_"+name, help, labels, nil), prometheus.CounterValue, send}
}

// gauge describes a gauge without labels.
func gauge[T any](name, help string, value func(T) float64) statsMetric[T] {
	return statsMetric[T]{prometheus.NewDesc("coapbridge_"+name, help, nil, nil), prometheus.GaugeValue,
		func(s T, add func(float64, ...string)) { add(value(s)) }}
}

// total describes a counter without labels.
func total[T any](name, help string, value func(T) uint64) statsMetric[T] {
	return counter(name, help, nil, func(s T, add func(float64, ...string)) { add(float64(value(s))) })
}

// Describe implements prometheus.Collector.
func (c *statsCollector[T]) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *statsCollector[T]) Collect(ch chan<- prometheus.Metric) { c.send(c.snapshot(), ch) }

// send sends the metrics of one snapshot.
func (c *statsCollector[T]) send(s T, ch chan<- prometheus.Metric) {
	for _, m := range c.metrics {
		m.send(s, func(v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
		})
	}
}

// labelSet lists the values of a label for a help text.
func labelSet[S fmt.Stringer](values []S) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return strings.Join(texts, ", ")
}

// textSet is labelSet for values that are texts themselves.
func textSet[S ~string](values []S) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}
