"""A Git server that speaks HTTPS and asks for a token: `git http-backend` behind Python's server."""

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.apparatus.secured_triton import signed

NAME = "localhost"


class GitServer(NamedTuple):
    """Where it is, and what those who trust it need."""

    url: str
    certificate: Path


@contextmanager
def serving(root: Path, token: str) -> Iterator[GitServer]:
    """Serve the bare repositories below a directory to whoever has the token, in the way of GitHub's."""
    certificate = signed(NAME, ("127.0.0.1",))
    trusted, key = root / "git-server.crt", root / "git-server.key"
    trusted.write_text(certificate.certificate)
    key.write_text(certificate.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(root, token))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield GitServer(f"https://{NAME}:{server.server_port}", trusted)
    finally:
        server.shutdown()
        server.server_close()


def _make_handler(root: Path, token: str) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = urlsplit(self.path)
            variables = {
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": asked.path,
                "QUERY_STRING": asked.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": "somebody",
            }
            command = ["git", "-c", "http.receivepack=true", "-c", "safe.directory=*", "http-backend"]
            said = subprocess.run(command, input=body, capture_output=True, env=os.environ | variables, check=True)
            head, _, content = said.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
