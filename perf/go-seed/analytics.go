package main

import (
	"math"
	"sync"
)

const (
	windowSize = 50
	samplesMin = 16
	threshold  = 2.0
)

// A window holds the last values of one field, the oldest first.
type window []float64

func (w window) mean() float64 {
	if len(w) == 0 {
		return 0
	}
	sum := 0.0
	for _, value := range w {
		sum += value
	}
	return sum / float64(len(w))
}

func (w window) deviation() float64 {
	if len(w) == 0 {
		return 0
	}
	mean, sum := w.mean(), 0.0
	for _, value := range w {
		sum += (value - mean) * (value - mean)
	}
	return math.Sqrt(sum / float64(len(w)))
}

// The z-score of a value against the window; 0 while the window says too little.
func (w window) score(value float64) float64 {
	deviation := w.deviation()
	if len(w) < samplesMin || deviation == 0 {
		return 0
	}
	return (value - w.mean()) / deviation
}

func (w *window) add(value float64) {
	*w = append(*w, value)
	if len(*w) > windowSize {
		*w = (*w)[1:]
	}
}

// series is one field of all devices together.
type series struct {
	window window
	score  float64
}

func (s *series) add(value float64) bool {
	s.score = s.window.score(value)
	s.window.add(value)
	return math.Abs(s.score) > threshold
}

// Analytics keeps the windows of both fields behind one mutex.
type Analytics struct {
	mutex    sync.Mutex
	cpu, rps series
	accepted uint64
}

// NewAnalytics has seen nothing yet.
func NewAnalytics() *Analytics {
	return &Analytics{}
}

// Add takes a metric in, and names the fields that are anomalous.
func (a *Analytics) Add(metric Metric) []string {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.accepted++
	var fields []string
	if a.cpu.add(metric.CPU) {
		fields = append(fields, "cpu")
	}
	if a.rps.add(metric.RPS) {
		fields = append(fields, "rps")
	}
	return fields
}

// Field is what /analyze says of one.
type Field struct {
	RollingAverage float64 `json:"rolling_average"`
	Deviation      float64 `json:"stddev"`
	ZScore         float64 `json:"z_score"`
	Anomaly        bool    `json:"anomaly"`
}

// Summary is the answer of /analyze.
type Summary struct {
	Accepted uint64 `json:"accepted"`
	CPU      Field  `json:"cpu"`
	RPS      Field  `json:"rps"`
}

// Summary says how things stand.
func (a *Analytics) Summary() Summary {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	field := func(s *series) Field {
		return Field{
			RollingAverage: s.window.mean(),
			Deviation:      s.window.deviation(),
			ZScore:         s.score,
			Anomaly:        math.Abs(s.score) > threshold,
		}
	}
	return Summary{Accepted: a.accepted, CPU: field(&a.cpu), RPS: field(&a.rps)}
}
