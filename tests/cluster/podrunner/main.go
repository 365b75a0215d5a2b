// podrunner makes a cluster's pods and Services answer, without containers, and sends them requests.
//
//	podrunner serve -kubeconfig FILE   each running pod serves HTTP on podIP:containerPort, each Service IP forwards to them
//	podrunner load -url URL ...        sends requests at a constant rate and counts the answers by version and code
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "serve" && os.Args[1] != "load" {
		fmt.Fprintln(os.Stderr, "usage: podrunner serve|load [flags]; -h lists them")
		os.Exit(2)
	}
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	if os.Args[1] == "load" {
		load(os.Args[2:])
		return
	}
	f := flag.NewFlagSet("serve", flag.ExitOnError)
	kubeconfig := f.String("kubeconfig", os.Getenv("KUBECONFIG"), "an administrator's kubeconfig")
	kubectl := f.String("kubectl", "kubectl", "a kubectl, to read it with")
	dns := f.String("dns", "", "where to answer for Service names, such as 10.96.0.10:53; empty: nowhere")
	counts := f.String("counts", "127.0.0.1:9099", "where to tell what the pods served")
	f.Parse(os.Args[2:])

	k, err := newKube(*kubectl, *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", *counts)
	if err != nil {
		log.Fatal(err)
	}
	served := newTotals()
	go func() { log.Fatal(http.Serve(l, served)) }()
	go runServices(k, *dns)
	runPods(k, served)
}
