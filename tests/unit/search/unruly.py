"""A web server on this machine that answers as it is told, however badly."""

import contextlib
import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Request:
    line: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[socket.socket, Request], None]


@dataclass
class Unruly:
    """Gives the answers in turn; the last one again and again."""

    address: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Unruly]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    scheme = "http" if tls is None else "https"
    server = Unruly(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", list(answers))
    closing = threading.Event()

    def accept() -> None:
        while not closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        try:
            with (
                connection if tls is None else tls.wrap_socket(connection, server_side=True) as sock
            ):
                request = _read(sock)
                if request is not None:
                    server.take(request)(sock, request)
        except OSError:
            return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        closing.set()
        # A thread in accept() does not see that its socket is closed; one more caller wakes it.
        with socket.create_connection(listener.getsockname()):
            pass
        listener.close()
        thread.join(10)


def _read(sock: socket.socket) -> Request | None:
    blob = b""
    while b"\r\n\r\n" not in blob:
        part = sock.recv(65_536)
        if not part:
            return None
        blob += part
    head, _, body = blob.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest)
    }
    while len(body) < int(headers.get("content-length", 0)):
        body += sock.recv(65_536)
    return Request(line, headers, body)


def reply(
    content: object = None,
    *,
    status: int = 200,
    kind: str = "application/json",
    headers: Mapping[str, str] | None = None,
    announced: int | None = None,
) -> Answer:
    """Return an answer: bytes as they are, everything else as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def answer(sock: socket.socket, _request: Request) -> None:
        size = len(body) if announced is None else announced
        rows = {"Content-Type": kind, "Content-Length": str(size), "Connection": "close"}
        rows |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in rows.items())
        sock.sendall(f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + body)

    return answer


def silent(sock: socket.socket, _request: Request) -> None:
    """Say nothing until the caller hangs up."""
    sock.recv(1)


def in_pieces(content: object) -> Answer:
    """Return an answer that comes slowly, but comes."""
    body = json.dumps(content).encode()

    def answer(sock: socket.socket, _request: Request) -> None:
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        sock.sendall(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
        for start in range(0, len(body), 32):
            sock.sendall(body[start : start + 32])
            # A caller sends nothing more, so this only takes its time.
            sock.settimeout(0.01)
            with contextlib.suppress(TimeoutError):
                sock.recv(1)

    return answer


def drip(sock: socket.socket, _request: Request) -> None:
    """Send a byte of a header now and then, for ever."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    sock.settimeout(0.02)
    while True:
        sock.sendall(b"x")
        try:
            if sock.recv(1) == b"":
                return
        except TimeoutError:
            continue


def drip_body(sock: socket.socket, _request: Request) -> None:
    """Send a byte of a body now and then, for ever; there is no length that could be missed."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    sock.settimeout(0.02)
    while True:
        sock.sendall(b" ")
        try:
            if sock.recv(1) == b"":
                return
        except TimeoutError:
            continue


def endless(sock: socket.socket, _request: Request) -> None:
    """Send without end."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        sock.sendall(b" " * 65_536)


def endless_redirect(sock: socket.socket, _request: Request) -> None:
    """Send a redirect whose body has no end."""
    sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /next\r\n\r\n")
    while True:
        sock.sendall(b" " * 65_536)


def hang_up(sock: socket.socket, _request: Request) -> None:
    """Close without an answer."""


def invalid_tls(folder: Path) -> ssl.SSLContext:
    """Return a server context with a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unruly.example")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    path = folder / "unruly.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
