"""A whole run with a search service on the network, and again without service or network."""

import asyncio
import base64
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from agentic_vlm.params import load_params
from agentic_vlm.search import LocalSearch
from agentic_vlm.search.answers import AnswerStore

from .whole_run import digests_of_all, run_all

_ANSWERS = Path("data") / "search_answers"
_REPOSITORY = Path(__file__).parents[2]
# Twelve samples of which most need a search, so that the teacher asks with texts and pictures.
_FEW = "{perception: 1, reasoning: 1, search: 8, integration: 1, text: 1}"
_ONE = "{perception: 0, reasoning: 0, search: 1, integration: 1, text: 0}"
_WORLD = (
    f"{{type: world, name: world, seed: 0, num_train: {_FEW}, tool_share: 0.9, suite: pocket, "
    f"num_eval_tool: {_ONE}, num_eval_direct: {_ONE}, num_entities: 40, num_articles: 80}}"
)


@contextmanager
def search_service(corpus: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a corpus in the JSON form; yield the address and the kinds of the requests."""
    local = LocalSearch(corpus, max_snippet_chars=120, max_distance=14)
    requests: list[str] = []

    async def answer(asked: dict) -> list[dict]:
        if "query" in asked:
            hits = await local.search_text(asked["query"], num_hits=asked["num"])
            return [{"title": hit.title, "link": hit.link, "snippet": hit.snippet} for hit in hits]
        image = Image.open(io.BytesIO(base64.b64decode(asked["image"])))
        return [
            {
                "title": hit.title,
                "link": hit.link,
                "thumbnail": base64.b64encode(hit.thumbnail).decode(),
            }
            for hit in await local.search_image(image, num_hits=asked["num"])
        ]

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append("text" if "query" in asked else "picture")
            body = json.dumps({"data": asyncio.run(answer(asked))}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/search", requests
        finally:
            server.shutdown()
            thread.join()
            asyncio.run(local.close())


def overrides(recording: str) -> list[str]:
    """Return the changes that let a service on the network answer, with the given recording."""
    search = load_params(_REPOSITORY / "params.yaml").search
    # A machine that is busy with something else must not make an outage.
    live = search.live.model_copy(update={"max_per_second": 1000.0, "deadline_s": 600.0})
    by_service = {"type": "json", "recording": recording, "live": live}
    changed = search.model_copy(update=by_service).model_dump_json()
    return [f"search={changed}", f"ingest.sources=[{_WORLD}]"]


def outside_of_networks() -> list[str]:
    """Return the words that start a command in an empty network namespace; none where refused."""
    for options in (["--net"], ["--user", "--map-current-user", "--net"]):
        words = ["unshare", *options]
        if shutil.which("unshare") and not subprocess.run([*words, "true"], check=False).returncode:
            return words
    return []


def replay(root: Path) -> list[str]:
    """Run all stages in a process without a network; return what it wanted to reach."""
    command = [sys.executable, "-m", "tests.pipeline.replaying", str(root)]
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    done = subprocess.run(
        [*outside_of_networks(), *command],
        cwd=_REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tried: list[str] = json.loads(done.stdout.splitlines()[-1])
    return tried


@pytest.mark.slow
def test_a_whole_run_is_replayed_byte_for_byte_with_the_network_cut(
    make_tiny_project, tmp_path, monkeypatch
):
    live = make_tiny_project(tmp_path / "live", *overrides("record_missing"))
    with search_service(live / "data" / "corpus") as (address, requests):
        monkeypatch.setenv("AGENTIC_SEARCH_URL", address)
        run_all(live)
        assert set(requests) == {"text", "picture"}
        num_asked = len(requests)
        assert AnswerStore(live / _ANSWERS).count() == num_asked

        replayed = make_tiny_project(tmp_path / "replayed", *overrides("replay"))
        shutil.copytree(live / _ANSWERS, replayed / _ANSWERS)
        # The service is still there and named; nobody asks.
        assert replay(replayed) == []
        assert len(requests) == num_asked
    first, second = digests_of_all(live), digests_of_all(replayed)
    assert {"metrics/summary.json", "models/rl/model.safetensors"} <= set(first)
    assert [path for path in first if second.get(path) != first[path]] == []
    assert set(first) == set(second)
