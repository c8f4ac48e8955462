"""A small OpenAI-compatible server: its answers depend on nothing but the request.

    python chat_server.py PORT_FILE [PORT]

The second turn answers with what the first observation says. Each request takes a moment, so that
a kill meets some of them half-way.
"""

import hashlib
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def write(messages: list[dict], seed: int) -> str:
    digest = hashlib.sha256(json.dumps([messages, seed], sort_keys=True).encode()).hexdigest()
    if messages[-1]["role"] == "user" and len(messages) <= 2:
        number = int(digest[:4], 16)
        code = f"print({number} + 1)"
        return f"<think>Compute {digest[:6]}.</think><code>\n```python\n{code}\n```\n</code> so"
    return f"<think>Read.</think><answer>{digest[:8]}</answer>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.02)
        text = write(body["messages"], body["seed"])
        for mark in body.get("stop", ()):
            text = text.partition(mark)[0]
        choice = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        encoded = json.dumps({**answer, "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    draft = Path(sys.argv[1] + ".tmp")
    draft.write_text(str(server.server_address[1]))
    os.replace(draft, sys.argv[1])
    server.serve_forever()
