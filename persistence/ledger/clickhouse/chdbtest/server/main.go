// Command chdbserver is ClickHouse for the tests: it loads the engine as a library
// (libchdb.so) and serves as much of ClickHouse's HTTP protocol as clickhouse-go
// needs. It is no server for anything else: one query at a time, results held in
// memory, one user. It prints its address, and ends with its standard input.
//
// Invariant: what it has answered is what the engine did; it keeps nothing itself.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	lib := flag.String("lib", "", "path of libchdb.so")
	dir := flag.String("data", "", "data directory")
	listen := flag.String("listen", "127.0.0.1:0", "address")
	user := flag.String("user", "default", "the user who may come")
	password := flag.String("password", "", "and the password")
	flag.Parse()
	log.SetFlags(0)
	e, err := load(*lib, *dir)
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends when whoever started this one does
		os.Exit(0)
	}()
	fmt.Println(l.Addr())
	srv := &http.Server{Handler: &handler{engine: e, user: *user, password: *password, scratch: *dir}, ReadHeaderTimeout: time.Minute}
	log.Fatal(srv.Serve(l))
}
