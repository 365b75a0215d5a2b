package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

var latencyBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10} // seconds

// metrics is what a pod counts of itself, for Prometheus.
type metrics struct {
	mu      sync.Mutex
	codes   map[int]uint64
	buckets []uint64
	sum     float64
	count   uint64
}

func newMetrics() *metrics {
	return &metrics{codes: map[int]uint64{}, buckets: make([]uint64, len(latencyBounds))}
}

func (m *metrics) add(code int, took time.Duration) {
	seconds := took.Seconds()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.codes[code]++
	m.count++
	m.sum += seconds
	for i, bound := range latencyBounds {
		if seconds <= bound {
			m.buckets[i]++
		}
	}
}

func (m *metrics) write(w http.ResponseWriter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintln(w, "# TYPE http_requests_total counter")
	for code, n := range m.codes {
		fmt.Fprintf(w, "http_requests_total{code=\"%d\"} %d\n", code, n)
	}
	fmt.Fprintln(w, "# TYPE http_request_duration_seconds histogram")
	for i, bound := range latencyBounds {
		fmt.Fprintf(w, "http_request_duration_seconds_bucket{le=\"%g\"} %d\n", bound, m.buckets[i])
	}
	fmt.Fprintf(w, "http_request_duration_seconds_bucket{le=\"+Inf\"} %d\n", m.count)
	fmt.Fprintf(w, "http_request_duration_seconds_sum %g\nhttp_request_duration_seconds_count %d\n", m.sum, m.count)
}
