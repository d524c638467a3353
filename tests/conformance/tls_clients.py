"""Runs inside the gateway's image: which TLS clients accept which server.

Two HTTPS servers on loopback, ``trusted`` and ``foreign``, take their certificates from /tls. Each
client asks each server; what counts is whether the server got a request, that is, whether the
client went on after the handshake. Prints one JSON object: client → server → asked or not.
"""

import json
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer


class Door(HTTPServer):
    """A server that remembers whether anybody got through to it."""

    asked = 0


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Door)
        self.server.asked += 1
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class names it so
        pass


def serve(name: str) -> Door:
    door = Door(("127.0.0.1", 0), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"/tls/{name}/server.crt", f"/tls/{name}/server.key")
    door.socket = context.wrap_socket(door.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    return door


def python(port: int) -> None:
    try:
        urllib.request.urlopen(f"https://localhost:{port}/", timeout=10)
    except urllib.error.URLError:
        return


def uv(port: int) -> None:
    index = f"https://localhost:{port}/simple/"
    command = ["uv", "pip", "install", "--dry-run", "--default-index", index, "nothing-of-that-name"]
    subprocess.run(command, capture_output=True, timeout=60, check=False)


def openssl(port: int) -> None:
    command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"]
    request = b"GET / HTTP/1.0\r\n\r\n"
    address = ["-servername", "localhost", "-connect", f"127.0.0.1:{port}"]
    subprocess.run([*command, *address], input=request, capture_output=True, timeout=60, check=False)


CLIENTS = {"python": python, "uv": uv, "openssl": openssl}


def main() -> None:
    answers: dict[str, dict[str, bool]] = {}
    for name, ask in CLIENTS.items():
        for server in ("trusted", "foreign"):
            door = serve(server)
            ask(door.server_port)
            door.shutdown()
            answers.setdefault(name, {})[server] = door.asked > 0
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
