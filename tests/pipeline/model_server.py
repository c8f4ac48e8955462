"""`transformers serve` with the pocket base model, and a gate that kills it under a request."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

_START = "from transformers.cli.transformers import main; main()"
_ADDRESS = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")
# Its reply is the text as the model wrote it: calls are parsed by the loop, not by the server.
_PLAIN_REPLY = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {"content": {"close_pattern": "<\\|im_end\\|>\\s*", "content": "text"}},
}


def copy_base(folder: Path) -> None:
    """Copy the committed base model to where a project expects it, ready to be served."""
    shutil.copytree(Path(__file__).parents[2] / "models" / "base", folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "response_template": _PLAIN_REPLY}))


class ModelServer:
    """A server started in a project, so that it knows its model as models/base."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._start()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port)

    def restart(self) -> None:
        """Start another process after this one was killed; it has another port."""
        self._start()

    def kill(self) -> None:
        """End the process without warning."""
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        (self._root / "hub" / "hub").mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "HF_HOME": str(self._root / "hub"), "HF_HUB_OFFLINE": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        options = ["--trust-remote-code", "--device", "cpu", "--dtype", "float32"]
        options += ["--host", "127.0.0.1", "--port", "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, "serve", "models/base", *options],
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if found := _ADDRESS.search(line):
                break
        else:
            raise AssertionError("".join(said))
        self._port = int(found[1])
        # A full pipe would stop the server.
        threading.Thread(target=_drain, args=(self._process.stdout,), daemon=True).start()


def _drain(stream: IO[str]) -> None:
    with stream:
        for _ in stream:
            pass


class Gate:
    """Stands before a server at one address, counts requests and kills it under one of them.

    That request has been sent and is lost; until the next process listens, nobody is answered.
    """

    def __init__(self, server: ModelServer) -> None:
        self.url = ""
        self.num_answers = 0
        """Requests that were answered with status 200."""
        self.num_kills = 0
        self._server = server
        self._lock = threading.Lock()
        self._is_open = True
        self._kills_after: int | None = None
        self._return: threading.Thread | None = None
        self._is_lost = False

    def close(self) -> None:
        """Wait for a server that is on its way back, so that it can be ended."""
        if self._return is not None:
            self._return.join()

    def kill_after(self, num_answers: int) -> None:
        """Count from 0 again, and kill the server under the request after so many answers."""
        self.num_answers = self.num_kills = 0
        self._kills_after = num_answers

    def pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        """Answer a request as the server does, or hang up."""
        body = asked.rfile.read(int(asked.headers["Content-Length"]))
        if self._is_lost:
            # A refusal ends the run at once; without an answer it would wait for half an hour.
            asked.send_error(401)
            return
        with self._lock:
            if not self._is_open:
                return
            if is_fatal := self.num_answers == self._kills_after:
                self._is_open, self._kills_after = False, None
        connection = self._server.connect()
        try:
            connection.request("POST", asked.path, body, dict(asked.headers))
            if is_fatal:
                self._server.kill()
                self.num_kills += 1
            answer = connection.getresponse()
            status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
        except (OSError, http.client.HTTPException):
            # The server is gone; `transformers serve` also hangs up after a fault of its own.
            return
        finally:
            connection.close()
            if is_fatal:
                self._return = threading.Thread(target=self._bring_back)
                self._return.start()
        self.num_answers += status == 200
        asked.send_response(status)
        asked.send_header("Content-Type", kind)
        asked.send_header("Content-Length", str(len(content)))
        asked.end_headers()
        asked.wfile.write(content)

    def _bring_back(self) -> None:
        try:
            self._server.restart()
            self._is_open = True
        finally:
            self._is_lost = not self._is_open


@contextmanager
def open_gate(server: ModelServer) -> Iterator[Gate]:
    """Open a gate before a server, and close it in the end."""
    gate = Gate(server)

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            gate.pass_on(self)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as doors:
        gate.url = f"http://127.0.0.1:{doors.server_port}/v1"
        thread = threading.Thread(target=doors.serve_forever, daemon=True)
        thread.start()
        try:
            yield gate
        finally:
            doors.shutdown()
            thread.join()
            gate.close()
