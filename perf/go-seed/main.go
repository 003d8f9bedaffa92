// The service that corepulse replaces, as its user would have written it: net/http, gorilla/mux,
// go-redis with one SET a metric, a window of 50 behind one mutex, client_golang.
//
// It is here to be compared with. What it takes is one metric, an array of them, or NDJSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
)

const (
	keptFor = 5 * time.Minute
	bodyMax = 1 << 20
)

var (
	requests = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total", Help: "Requests answered.",
	}, []string{"route", "status"})
	duration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_request_duration_seconds", Help: "Time to answer.",
	}, []string{"route"})
	anomalies = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "anomalies_total", Help: "Values further than two deviations from the average.",
	}, []string{"field"})
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
	redis     *redis.Client
	analytics *Analytics
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "loopback address; port 0 takes a free one")
	url := flag.String("redis-url", "", "where metrics are kept; nowhere if empty")
	flag.Parse()

	server := &Server{analytics: NewAnalytics()}
	if *url != "" {
		options, err := redis.ParseURL(*url)
		if err != nil {
			log.Fatal(err)
		}
		server.redis = redis.NewClient(options)
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
	router := mux.NewRouter()
	router.HandleFunc("/metrics", counted("/metrics", s.ingest)).Methods(http.MethodPost)
	router.HandleFunc("/analyze", counted("/analyze", s.analyze)).Methods(http.MethodGet)
	router.Handle("/metrics", promhttp.Handler()).Methods(http.MethodGet)
	router.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	}).Methods(http.MethodGet)
	return router
}

// A handler gives a status and what to write as JSON.
type handler func(*http.Request) (int, any)

func counted(route string, handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		status, answer := handle(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			log.Printf("answering: %v", err)
		}
		requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
		duration.WithLabelValues(route).Observe(time.Since(start).Seconds())
	}
}

func (s *Server) ingest(r *http.Request) (int, any) {
	metrics, err := decode(io.LimitReader(r.Body, bodyMax))
	if err != nil {
		return http.StatusBadRequest, map[string]string{"error": err.Error()}
	}
	found := 0
	for _, metric := range metrics {
		if err := s.keep(r.Context(), metric); err != nil {
			return http.StatusServiceUnavailable, map[string]string{"error": err.Error()}
		}
		for _, field := range s.analytics.Add(metric) {
			anomalies.WithLabelValues(field).Inc()
			found++
		}
	}
	return http.StatusAccepted, map[string]int{"accepted": len(metrics), "anomalies": found}
}

func (s *Server) keep(ctx context.Context, metric Metric) error {
	if s.redis == nil {
		return nil
	}
	value, err := json.Marshal(metric)
	if err != nil {
		return err
	}
	return s.redis.Set(ctx, metric.key(), value, keptFor).Err()
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
