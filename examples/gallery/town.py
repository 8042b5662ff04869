#!/usr/bin/env python3
"""The town of the gallery's scene: a web server on loopback, and before it a proxy that speaks TLS: town.py CERTIFICATE KEY."""

import hashlib
import http.client
import http.server
import ssl
import sys
import threading

APPLICATION, PROXY = ("127.0.0.1", 8080), ("0.0.0.0", 443)


class Application(http.server.BaseHTTPRequestHandler):
    """Answers any path, after work for the profiler to see."""

    def do_GET(self):
        count_to_an_answer()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"you asked for {self.path}\n".encode())

    def log_message(self, *_):
        pass


def count_to_an_answer():
    digest = b""
    for _ in range(20_000):
        digest = hashlib.sha256(digest).digest()


class Proxy(http.server.BaseHTTPRequestHandler):
    """Hands each request to the application."""

    def do_GET(self):
        application = http.client.HTTPConnection(*APPLICATION)
        application.request("GET", self.path)
        body = application.getresponse().read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main(certificate, key):
    application = http.server.ThreadingHTTPServer(APPLICATION, Application)
    threading.Thread(target=application.serve_forever, daemon=True).start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    proxy = http.server.ThreadingHTTPServer(PROXY, Proxy)
    proxy.socket = context.wrap_socket(proxy.socket, server_side=True)
    proxy.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
