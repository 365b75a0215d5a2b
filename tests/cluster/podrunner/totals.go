package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
)

// totals counts what pods answered since podrunner started, also the pods that are gone: namespace, version, code.
type totals struct {
	mu sync.Mutex
	by map[string]map[string]map[string]uint64
}

func newTotals() *totals { return &totals{by: map[string]map[string]map[string]uint64{}} }

func (t *totals) add(namespace, version string, code int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	versions := t.by[namespace]
	if versions == nil {
		versions = map[string]map[string]uint64{}
		t.by[namespace] = versions
	}
	if versions[version] == nil {
		versions[version] = map[string]uint64{}
	}
	versions[version][strconv.Itoa(code)]++
}

// ServeHTTP answers /counts: {"shop": {"1.0": {"200": 123, "500": 4}}}.
func (t *totals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/counts" {
		http.NotFound(w, r)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(t.by)
}
