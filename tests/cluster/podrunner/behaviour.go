package main

import (
	"log"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"
)

// behaviour is what a pod's requests see. It may change while the pod serves.
type behaviour struct {
	version   string
	errorRate float64 // share of requests that fail
	errorCode int
	calm      float64       // so many requests a second never fail
	latency   time.Duration // median
	spread    float64       // sigma of the log-normal around it
	slowRate  float64       // share of requests that take slow instead
	slow      time.Duration
}

// next says what becomes of one request, the nth that came to its pod within this second.
func (b *behaviour) next(nth int) (code int, takes time.Duration) {
	code, takes = 200, b.latency
	if b.spread > 0 {
		takes = time.Duration(float64(takes) * math.Exp(rand.NormFloat64()*b.spread))
	}
	if b.slowRate > 0 && rand.Float64() < b.slowRate {
		takes = b.slow
	}
	if b.errorRate > 0 && float64(nth) > b.calm && rand.Float64() < b.errorRate {
		code = b.errorCode
	}
	return code, takes
}

// counter numbers requests within each second.
type counter struct {
	mu     sync.Mutex
	second int64
	n      int
}

func (c *counter) next(now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Unix() != c.second {
		c.second, c.n = now.Unix(), 0
	}
	c.n++
	return c.n
}

func (p *pod) behaviour() *behaviour {
	number := func(key string, otherwise float64) float64 {
		s := p.setting(key)
		if s == "" {
			return otherwise
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			log.Printf("pod %s/%s: bench/%s: %q is no number", p.Metadata.Namespace, p.Metadata.Name, key, s)
			return otherwise
		}
		return f
	}
	milliseconds := func(key string) time.Duration { return time.Duration(number(key, 0) * float64(time.Millisecond)) }
	b := &behaviour{
		version:   p.setting("version"),
		errorRate: number("error-rate", 0),
		errorCode: int(number("error-code", 500)),
		calm:      number("error-above", 0),
		latency:   milliseconds("latency-ms"),
		spread:    number("latency-spread", 0),
		slowRate:  number("slow-rate", 0),
		slow:      milliseconds("slow-ms"),
	}
	if b.version == "" && len(p.Spec.Containers) > 0 {
		image := p.Spec.Containers[0].Image
		b.version = image[strings.LastIndexAny(image, ":/")+1:]
	}
	return b
}

// setting reads bench/<key> from the pod's annotations, or BENCH_<KEY> from its containers' environment.
func (p *pod) setting(key string) string {
	if v, ok := p.Metadata.Annotations["bench/"+key]; ok {
		return v
	}
	name := "BENCH_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
	for _, c := range p.Spec.Containers {
		for _, e := range c.Env {
			if e.Name == name {
				return e.Value
			}
		}
	}
	return ""
}
