package main

import (
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"
)

// The upper bounds of the buckets, in seconds, as client_golang has them.
var bounds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// A histogram counts durations; the last bucket is for those beyond all bounds.
type histogram struct {
	buckets [12]uint64
	sum     float64
}

// Exposition counts what /metrics tells, by labels as they are written there.
type Exposition struct {
	mutex     sync.Mutex
	requests  map[string]uint64
	durations map[string]*histogram
	anomalies map[string]uint64
}

// NewExposition has counted nothing yet.
func NewExposition() *Exposition {
	return &Exposition{
		requests:  map[string]uint64{},
		durations: map[string]*histogram{},
		anomalies: map[string]uint64{},
	}
}

// Answered counts a request.
func (e *Exposition) Answered(route string, status int, took time.Duration) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.requests[fmt.Sprintf("route=%q,status=\"%d\"", route, status)]++
	labels := fmt.Sprintf("route=%q", route)
	if e.durations[labels] == nil {
		e.durations[labels] = &histogram{}
	}
	duration, seconds := e.durations[labels], took.Seconds()
	duration.buckets[sort.SearchFloat64s(bounds, seconds)]++
	duration.sum += seconds
}

// Anomalous counts an anomaly of a field.
func (e *Exposition) Anomalous(field string) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.anomalies[fmt.Sprintf("field=%q", field)]++
}

// ServeHTTP writes the text format of Prometheus.
func (e *Exposition) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	var text strings.Builder
	counter := func(name, help string, values map[string]uint64) {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s counter\n", name, help, name)
		for labels, value := range values {
			fmt.Fprintf(&text, "%s{%s} %d\n", name, labels, value)
		}
	}
	counter("http_requests_total", "Requests answered.", e.requests)
	counter("anomalies_total", "Values further than two deviations from the average.", e.anomalies)
	name := "http_request_duration_seconds"
	fmt.Fprintf(&text, "# HELP %s Time to answer.\n# TYPE %s histogram\n", name, name)
	for labels, duration := range e.durations {
		count := uint64(0)
		for at, bound := range bounds {
			count += duration.buckets[at]
			fmt.Fprintf(&text, "%s_bucket{%s,le=\"%g\"} %d\n", name, labels, bound, count)
		}
		count += duration.buckets[len(bounds)]
		fmt.Fprintf(&text, "%s_bucket{%s,le=\"+Inf\"} %d\n", name, labels, count)
		fmt.Fprintf(&text, "%s_sum{%s} %g\n", name, labels, duration.sum)
		fmt.Fprintf(&text, "%s_count{%s} %d\n", name, labels, count)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	if _, err := w.Write([]byte(text.String())); err != nil {
		return
	}
}
