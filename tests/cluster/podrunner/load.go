package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// load sends requests at a constant rate, whatever the answers do (an open loop), until the duration is over or it hears
// SIGINT or SIGTERM; then it waits for the answers under way and prints a summary as JSON.
func load(args []string) {
	f := flag.NewFlagSet("load", flag.ExitOnError)
	url := f.String("url", "", "where to send GET requests")
	host := f.String("host", "", "Host header; empty: the URL's")
	headers := http.Header{}
	f.Func("header", "`NAME: VALUE`, a header of each request; may be repeated", func(text string) error {
		name, value, found := strings.Cut(text, ":")
		if !found {
			return errors.New("a header is NAME: VALUE")
		}
		headers.Add(name, strings.TrimSpace(value))
		return nil
	})
	rps := f.Float64("rps", 100, "requests per second")
	duration := f.Duration("duration", 0, "for how long; 0: until a signal")
	timeout := f.Duration("timeout", 10*time.Second, "a request without an answer by then has failed")
	fresh := f.Bool("new-connections", false, "open a connection for each request, instead of keeping them")
	each := f.String("log", "", "write each request to this file: unix seconds, ms taken, code, version")
	seconds := f.String("per-second", "", "write a line of JSON to this file each second")
	f.Parse(args)
	if *url == "" || *rps <= 0 {
		fmt.Fprintln(os.Stderr, "load: needs -url, and -rps above 0")
		os.Exit(2)
	}

	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if *duration > 0 {
		stop, cancel = context.WithTimeout(stop, *duration)
		defer cancel()
	}
	client := &http.Client{Timeout: *timeout, Transport: &http.Transport{
		MaxIdleConnsPerHost: 1000,
		DisableKeepAlives:   *fresh,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext, // a busy machine may take two SYNs
	}}
	log := newLog(*each, *seconds)
	all := newTally()
	var wg sync.WaitGroup
	start := time.Now()
	for i := 0; sleepUntil(stop, start.Add(time.Duration(float64(i)/(*rps)*float64(time.Second)))); i++ {
		wg.Go(func() {
			r := send(client, *url, *host, headers)
			all.add(r)
			log.add(r)
		})
	}
	sent := time.Since(start)
	wg.Wait()
	log.close()
	json.NewEncoder(os.Stdout).Encode(all.summary(sent))
}

func sleepUntil(stop context.Context, due time.Time) bool {
	select {
	case <-stop.Done():
		return false
	case <-time.After(time.Until(due)):
		return stop.Err() == nil
	}
}

type result struct {
	at      time.Time // when it was sent
	took    time.Duration
	code    int // 0: no answer
	version string
	err     string // why there was none
}

// failed: no answer, or one that says so.
func (r *result) failed() bool { return r.code == 0 || r.code >= 400 }

func send(client *http.Client, url, host string, headers http.Header) *result {
	r := &result{at: time.Now()}
	defer func() { r.took = time.Since(r.at) }()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		r.err = err.Error()
		return r
	}
	req.Host = host
	maps.Copy(req.Header, headers)
	resp, err := client.Do(req)
	if err != nil {
		r.err = err.Error()
		return r
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil { // half an answer is none
		r.err = err.Error()
		return r
	}
	r.code, r.version = resp.StatusCode, resp.Header.Get("X-Version")
	return r
}

// tally sums up results by the version that answered; the version is empty where no pod did.
type tally struct {
	mu       sync.Mutex
	versions map[string]*answers
	errors   map[string]int // a few different ones, as examples
}

type answers struct {
	codes  map[string]int
	failed int
	took   []float32 // ms
}

func newTally() *tally { return &tally{versions: map[string]*answers{}, errors: map[string]int{}} }

func (t *tally) add(r *result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.versions[r.version]
	if a == nil {
		a = &answers{codes: map[string]int{}}
		t.versions[r.version] = a
	}
	a.codes[strconv.Itoa(r.code)]++
	a.took = append(a.took, float32(r.took.Seconds()*1000))
	if r.failed() {
		a.failed++
	}
	if _, known := t.errors[r.err]; r.err != "" && (known || len(t.errors) < 10) {
		t.errors[r.err]++
	}
}

type milliseconds struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

type perVersion struct {
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Codes    map[string]int `json:"codes"`
	Ms       milliseconds   `json:"ms"`
}

type summary struct {
	Seconds  float64               `json:"seconds"`
	Requests int                   `json:"requests"`
	Failed   int                   `json:"failed"` // no answer, or a code of 400 and above
	Lost     int                   `json:"lost"`   // those of them that no pod answered
	Versions map[string]perVersion `json:"versions"`
	Ms       milliseconds          `json:"ms"`
	Errors   map[string]int        `json:"errors"` // why there was no answer: up to 10 different reasons
}

func (t *tally) summary(took time.Duration) summary {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := summary{Seconds: math.Round(took.Seconds()*1000) / 1000, Versions: map[string]perVersion{}, Errors: t.errors}
	var all []float32
	for version, a := range t.versions {
		s.Requests += len(a.took)
		s.Failed += a.failed
		if version == "" {
			s.Lost = a.failed
		}
		all = append(all, a.took...)
		s.Versions[version] = perVersion{len(a.took), a.failed, a.codes, quantiles(a.took)}
	}
	s.Ms = quantiles(all)
	return s
}

func quantiles(took []float32) milliseconds {
	if len(took) == 0 {
		return milliseconds{}
	}
	slices.Sort(took)
	at := func(q float64) float64 { return math.Round(float64(took[int(q*float64(len(took)-1))])*100) / 100 }
	return milliseconds{at(.5), at(.95), at(.99), at(1)}
}

// requestLog writes what comes back, each request and each second, where asked to.
type requestLog struct {
	mu         sync.Mutex
	each       *bufio.Writer
	seconds    *os.File
	second     *tally
	done, over chan struct{}
}

func newLog(each, seconds string) *requestLog {
	l := &requestLog{second: newTally(), done: make(chan struct{}), over: make(chan struct{})}
	if each != "" {
		l.each = bufio.NewWriter(create(each))
	}
	if seconds != "" {
		l.seconds = create(seconds)
	}
	go l.run()
	return l
}

func create(path string) *os.File {
	file, err := os.Create(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	return file
}

func (l *requestLog) add(r *result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.each != nil {
		fmt.Fprintf(l.each, "%.6f %.3f %d %s\n", float64(r.at.UnixMicro())/1e6, r.took.Seconds()*1000, r.code, r.version)
	}
	if l.seconds != nil {
		l.second.add(r)
	}
}

// run writes {"time": unix seconds, and the summary of the answers that came within the last second} each second.
func (l *requestLog) run() {
	defer close(l.over)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-tick.C:
		case <-l.done:
			last = true
		}
		l.mu.Lock()
		if l.each != nil {
			l.each.Flush()
		}
		if l.seconds != nil {
			json.NewEncoder(l.seconds).Encode(struct {
				Time float64 `json:"time"`
				summary
			}{float64(time.Now().UnixMilli()) / 1000, l.second.summary(time.Second)})
			l.second = newTally()
		}
		l.mu.Unlock()
		if last {
			return
		}
	}
}

func (l *requestLog) close() {
	close(l.done)
	<-l.over
}
