// Go's own TLS, at both ends, for tests that look into it.
//
//	tls serve FOLDER PORT      answers requests at PORT; at the next port it greets, by a connection within a connection
//	tls ask FOLDER PORT PATH   one request, with a password
//	tls greeted FOLDER PORT    reads a greeting into its own stack, which grows meanwhile
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func serve(folder string, port int) {
	certificate, err := tls.LoadX509KeyPair(folder+"/certificate", folder+"/key")
	check(err)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	greeter, err := net.Listen("tcp", address(port+1))
	check(err)
	go func() {
		for {
			connection, err := greeter.Accept()
			check(err)
			go func() {
				within := tls.Server(tls.Server(connection, config), config)
				io.WriteString(within, "a greeting from within")
				within.Close()
			}()
		}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, request *http.Request) {
		w.Header().Set("Set-Cookie", "session=of-the-server")
		if request.URL.Path == "/large" {
			w.Write([]byte(strings.Repeat("x", 10000)))
			return
		}
		io.WriteString(w, "the secret of "+request.URL.Path)
	})
	// HTTP/1 alone.
	server := &http.Server{Addr: address(port), TLSConfig: config, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	check(server.ListenAndServeTLS("", ""))
}

func trusting(folder string) *tls.Config {
	certificate, err := os.ReadFile(folder + "/certificate")
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

func ask(folder string, port int, path string) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(folder)}}
	request, err := http.NewRequest("GET", "https://"+address(port)+path, nil)
	check(err)
	request.SetBasicAuth("ada", "of-the-client")
	answer, err := client.Do(request)
	check(err)
	body, err := io.ReadAll(answer.Body)
	check(err)
	fmt.Print(string(body))
}

func greeted(folder string, port int) {
	config := trusting(folder)
	done := make(chan string)
	go func() {
		connection, err := net.Dial("tcp", address(port))
		check(err)
		within := tls.Client(tls.Client(connection, config), config)
		var here [64]byte
		// Both handshakes are below this call: more than the stack of a new goroutine holds.
		count, err := within.Read(here[:])
		check(err)
		done <- string(here[:count])
	}()
	fmt.Print(<-done)
}

func main() {
	port, err := strconv.Atoi(os.Args[3])
	check(err)
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2], port)
	case "ask":
		ask(os.Args[2], port, os.Args[4])
	case "greeted":
		greeted(os.Args[2], port)
	}
}
