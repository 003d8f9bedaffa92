// The service that corepulse replaces, as its user would have written it with Go's own library:
// net/http, encoding/json, a SET for each metric, a window of 50 behind one mutex.
//
// It is here to be compared with. What it takes is one metric, an array of them, or NDJSON.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	keptForSeconds = 300
	bodyMax        = 1 << 20
)

// Metric is what a device sends.
type Metric struct {
	DeviceID  string  `json:"device_id,omitempty"`
	Timestamp int64   `json:"timestamp"`
	CPU       float64 `json:"cpu"`
	RPS       float64 `json:"rps"`
}

func (m Metric) key() string {
	if m.DeviceID == "" {
		return fmt.Sprintf("metric:%d", m.Timestamp)
	}
	return fmt.Sprintf("metric:%s:%d", m.DeviceID, m.Timestamp)
}

// Server holds what the handlers share. Without Redis it keeps no metric.
type Server struct {
	redis      *Redis
	analytics  *Analytics
	exposition *Exposition
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "loopback address; port 0 takes a free one")
	redisURL := flag.String("redis-url", "", "where metrics are kept; nowhere if empty")
	flag.Parse()

	server := &Server{analytics: NewAnalytics(), exposition: NewExposition()}
	if *redisURL != "" {
		where, err := url.Parse(*redisURL)
		if err != nil {
			log.Fatal(err)
		}
		server.redis = NewRedis(where.Host)
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		log.Fatal("a peer serves its own machine only")
	}
	log.Printf("go-seed: listening on %s", listener.Addr())
	log.Fatal(http.Serve(listener, server.routes()))
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /metrics", s.counted("/metrics", s.ingest))
	mux.HandleFunc("GET /analyze", s.counted("/analyze", s.analyze))
	mux.Handle("GET /metrics", s.exposition)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	})
	return mux
}

// A handler gives a status and what to write as JSON.
type handler func(*http.Request) (int, any)

func (s *Server) counted(route string, handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		status, answer := handle(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			log.Printf("answering: %v", err)
		}
		s.exposition.Answered(route, status, time.Since(start))
	}
}

func (s *Server) ingest(r *http.Request) (int, any) {
	metrics, err := decode(io.LimitReader(r.Body, bodyMax))
	if err != nil {
		return http.StatusBadRequest, map[string]string{"error": err.Error()}
	}
	if err := s.keep(metrics); err != nil {
		return http.StatusServiceUnavailable, map[string]string{"error": err.Error()}
	}
	found := 0
	for _, metric := range metrics {
		for _, field := range s.analytics.Add(metric) {
			s.exposition.Anomalous(field)
			found++
		}
	}
	return http.StatusAccepted, map[string]int{"accepted": len(metrics), "anomalies": found}
}

func (s *Server) keep(metrics []Metric) error {
	if s.redis == nil {
		return nil
	}
	keys, values := make([]string, len(metrics)), make([][]byte, len(metrics))
	for at, metric := range metrics {
		value, err := json.Marshal(metric)
		if err != nil {
			return err
		}
		keys[at], values[at] = metric.key(), value
	}
	return s.redis.SetAll(keys, values, keptForSeconds)
}

func (s *Server) analyze(*http.Request) (int, any) {
	return http.StatusOK, s.analytics.Summary()
}

// One metric, an array, or metrics one after the other.
func decode(body io.Reader) ([]Metric, error) {
	bytesOfBody, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	var metrics []Metric
	if trimmed := bytes.TrimSpace(bytesOfBody); len(trimmed) > 0 && trimmed[0] == '[' {
		err := json.Unmarshal(trimmed, &metrics)
		return metrics, err
	}
	decoder := json.NewDecoder(bytes.NewReader(bytesOfBody))
	for {
		var metric Metric
		err := decoder.Decode(&metric)
		if errors.Is(err, io.EOF) && len(metrics) > 0 {
			return metrics, nil
		}
		if err != nil {
			return nil, err
		}
		metrics = append(metrics, metric)
	}
}
