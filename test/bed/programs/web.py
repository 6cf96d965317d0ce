"""A web server. GET / answers `hello ADDRESS` with the client's address; GET /bytes/N answers N bytes that follow from N;
PUT answers the SHA-256 of its body. Usage: web.py ADDRESS PORT"""

import hashlib
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = bytes(range(256)) * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/bytes/"):
            left = int(self.path.rsplit("/", 1)[1])
            self.answer(left)
            while left > 0:
                self.wfile.write(BLOCK[:left])
                left -= len(BLOCK)
        else:
            body = f"hello {self.client_address[0]}\n".encode()
            self.answer(len(body))
            self.wfile.write(body)

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        while left > 0:
            block = self.rfile.read1(min(left, 1 << 20))
            if not block:
                break
            digest.update(block)
            left -= len(block)
        body = f"{digest.hexdigest()}\n".encode()
        self.answer(len(body))
        self.wfile.write(body)

    def answer(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    if ":" in sys.argv[1]:
        Server.address_family = socket.AF_INET6
    server = Server((sys.argv[1], int(sys.argv[2])), Handler)
    print("ready")
    server.serve_forever()
