"""A whole run with a search service on the network, and again without service or network."""

import asyncio
import base64
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from agentic_vlm.params import load_params
from agentic_vlm.schema import Rollout, ToolCall, Trajectory
from agentic_vlm.search import LocalSearch
from agentic_vlm.search.answers import AnswerStore
from agentic_vlm.store import read_records

from .whole_run import MODELS, digests_of_all, run_all

logger = logging.getLogger(__name__)

_ANSWERS = Path("data") / "search_answers"
_REPOSITORY = Path(__file__).parents[2]
_TRAINED = _REPOSITORY / "models" / "rl"
# More of them make a measurement of the test: 100 take minutes.
_NUM_QUESTIONS = int(os.environ.get("AGENTIC_REPLAY_QUESTIONS", "4"))
# As the model was trained, for a policy that has learned to search.
_AS_TRAINED = ("agent.max_turns=7", "agent.max_turn_tokens=96", "agent.max_concurrent=32")
# Too little to unlearn it; more prompts, so that some of them are questions to search for.
_KEPT = ("train_sft.learning_rate=1e-7", "train_rl.prompts_per_step=4")


def _world(*, num_asked: int) -> str:
    """Return a source of twelve samples, most of which need a search, and questions to evaluate."""
    # The teacher asks with texts and pictures.
    few = "{perception: 1, reasoning: 1, search: 8, integration: 1, text: 1}"
    asked = f"{{perception: 0, reasoning: 0, search: {num_asked}, integration: 0, text: 0}}"
    one = "{perception: 0, reasoning: 0, search: 1, integration: 1, text: 0}"
    return (
        f"{{type: world, name: world, seed: 0, num_train: {few}, tool_share: 0.9, suite: pocket, "
        f"num_eval_tool: {asked}, num_eval_direct: {one}, num_entities: {40 + num_asked}, "
        f"num_articles: {80 + num_asked}}}"
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


def overrides(recording: str, *, num_asked: int = 1) -> list[str]:
    """Return the changes that let a service on the network answer, with the given recording."""
    search = load_params(_REPOSITORY / "params.yaml").search
    # A machine that is busy with something else must not make an outage.
    live = search.live.model_copy(update={"max_per_second": 1000.0, "deadline_s": 600.0})
    by_service = {"type": "json", "recording": recording, "live": live}
    changed = search.model_copy(update=by_service).model_dump_json()
    return [f"search={changed}", f"ingest.sources=[{_world(num_asked=num_asked)}]"]


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


def record_and_replay(make_project: Callable[[Path, str], Path], folder: Path) -> Path:
    """Run all stages with a service and again without it, compare them, and return the first."""
    live = make_project(folder / "live", "record_missing")
    with pytest.MonkeyPatch.context() as patch, search_service(live / "data" / "corpus") as service:
        address, requests = service
        patch.setenv("AGENTIC_SEARCH_URL", address)
        run_all(live)
        assert set(requests) == {"text", "picture"}
        num_asked = len(requests)
        assert AnswerStore(live / _ANSWERS).count() == num_asked

        replayed = make_project(folder / "replayed", "replay")
        shutil.copytree(live / _ANSWERS, replayed / _ANSWERS)
        # The service is still there and named; nobody asks.
        assert replay(replayed) == []
        assert len(requests) == num_asked
    first, second = digests_of_all(live), digests_of_all(replayed)
    assert {"metrics/summary.json", "models/rl/model.safetensors"} <= set(first)
    assert [path for path in first if second.get(path) != first[path]] == []
    assert set(first) == set(second)
    return live


def searches_of(root: Path) -> dict[str, Counter[str]]:
    """Return how often the policy of each stage has called each search tool."""
    places = {"probe": "probes/trajectories", "rollouts": "rollouts/records"}
    places |= {model: f"scores/{model}/trajectories" for model in MODELS}
    counts = {}
    for name, place in places.items():
        record = Rollout if name == "rollouts" else Trajectory
        rows = read_records(root / "data" / place, record)
        trajectories = [row.trajectory if isinstance(row, Rollout) else row for row in rows]
        actions = [turn.action for one in trajectories for turn in one.turns]
        tools = [action.tool for action in actions if isinstance(action, ToolCall)]
        counts[name] = Counter(tool for tool in tools if tool in ("search", "image_search"))
    return counts


@pytest.mark.slow
def test_a_whole_run_is_replayed_byte_for_byte_with_the_network_cut(make_tiny_project, tmp_path):
    def make_project(root: Path, recording: str) -> Path:
        return make_tiny_project(root, *overrides(recording))

    record_and_replay(make_project, tmp_path)


@pytest.mark.slow
def test_what_a_trained_policy_searches_for_is_replayed_in_every_stage(make_tiny_project, tmp_path):
    if not (_TRAINED / "card.json").exists():
        pytest.skip(f"no {_TRAINED}: `dvc pull` or `make reproduce` brings the trained model")

    def make_project(root: Path, recording: str) -> Path:
        changes = [*overrides(recording, num_asked=_NUM_QUESTIONS), *_AS_TRAINED, *_KEPT]
        make_tiny_project(root, *changes)
        shutil.rmtree(root / "models" / "base")
        shutil.copytree(_TRAINED, root / "models" / "base")
        return root

    counts = searches_of(record_and_replay(make_project, tmp_path))
    logger.info("searches of the policy: %s", counts)
    assert [name for name, calls in counts.items() if not calls] == [], counts
    # How often it asks for a picture is up to the model; somewhere it does.
    assert {tool for calls in counts.values() for tool in calls} == {"search", "image_search"}
