package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

type pod struct {
	Metadata meta
	Spec     struct {
		Containers []struct {
			Name, Image string
			Env         []struct{ Name, Value string }
			Ports       []struct {
				ContainerPort int
				Protocol      string
			}
		}
	}
	Status struct {
		PodIP             string
		ContainerStatuses []struct {
			State struct{ Running *struct{} }
		}
	}
}

// runs says whether the pod's processes run. That it isn't ready, or is being deleted, doesn't end them.
func (p *pod) runs() bool {
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil {
			return p.Status.PodIP != ""
		}
	}
	return false
}

// server is what listens in one pod's place.
type server struct {
	name, namespace string
	now             atomic.Pointer[behaviour]
	listening       map[string]endpoint // by address
	metrics         *metrics
	served          *totals
	came            counter
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/metrics" {
		s.metrics.write(w)
		return
	}
	start, b := time.Now(), s.now.Load()
	code, takes := b.next(s.came.next(start))
	time.Sleep(takes)
	// Counted before it is sent, so that whoever has the answer finds it counted.
	s.metrics.add(code, time.Since(start))
	s.served.add(s.namespace, b.version, code)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Version", b.version)
	w.Header().Set("X-Pod", s.name)
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]string{"namespace": s.namespace, "pod": s.name, "version": b.version})
}

// runPods serves HTTP on podIP:containerPort for each pod whose containers run.
// A pod whose annotation bench/serve is "false" is left alone: something real listens in its place.
func runPods(k *kube, served *totals) {
	running := map[string]*server{} // by the pod's UID
	owners := map[string]*server{}  // by address: the next pod may get it before we hear that the last one is gone
	drop := func(p *pod) {
		s := running[p.Metadata.UID]
		if s == nil {
			return
		}
		delete(running, p.Metadata.UID)
		for address, e := range s.listening {
			if owners[address] == s {
				delete(owners, address)
			}
			e.end()
		}
	}
	listen := func(s *server, address string) {
		if before := owners[address]; before != nil {
			before.listening[address].end()
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			log.Printf("pod %s/%s: %v", s.namespace, s.name, err)
			return
		}
		e := endpoint{l, &http.Server{Handler: s}}
		go e.http.Serve(l)
		s.listening[address], owners[address] = e, s
	}
	set := func(p *pod) {
		if !p.runs() || p.setting("serve") == "false" {
			drop(p)
			return
		}
		if s := running[p.Metadata.UID]; s != nil {
			s.now.Store(p.behaviour())
			return
		}
		s := &server{name: p.Metadata.Name, namespace: p.Metadata.Namespace, listening: map[string]endpoint{}, metrics: newMetrics(), served: served}
		s.now.Store(p.behaviour())
		running[p.Metadata.UID] = s
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				if port.Protocol == "" || port.Protocol == "TCP" {
					listen(s, net.JoinHostPort(p.Status.PodIP, strconv.Itoa(port.ContainerPort)))
				}
			}
		}
	}
	follow(k, "/api/v1/pods", func(p *pod) *meta { return &p.Metadata }, set, drop)
}

// endpoint is one address that a pod listens on.
type endpoint struct {
	net.Listener
	http *http.Server
}

// end frees the address before it returns, and lets requests under way go on for 2 s.
func (e endpoint) end() {
	e.Close()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		e.http.Shutdown(ctx)
		e.http.Close()
	}()
}
