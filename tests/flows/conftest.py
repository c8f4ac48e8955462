"""A DVC project with a stage that can be held in the middle, and a view of the process table."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
from dvc.repo import Repo

ROOT = Path(__file__).parents[2]
_MARK = "AGENTIC_TEST_MARK"
_PATIENCE_S = 600.0
_PR_SET_CHILD_SUBREAPER = 36

# The real runner of stages with its real scratch folder. Each of its three steps is kept; while
# the file `hold` exists, the second one waits for ever, as a training that takes hours.
STEPS = """
import os, pathlib, time
import stages  # ties the process to DVC, as `python -m stages.curate` does
from agentic_vlm.stage import Stage, StageReport

STAGE = Stage(name="curate", doc="Three steps.", reads=("given.txt",), writes=("data/curated",))


def run(context):
    done = len(list(context.scratch.glob("step-*")))
    with (context.root / "starts.txt").open("a") as log:
        log.write(f"{done}\\n")
    for step in range(done, 3):
        if step == 1 and (context.root / "hold").exists():
            (context.root / "held").write_text(str(os.getpid()))
            while True:
                time.sleep(60)
        (context.scratch / f"step-{step}").write_text("done")
    folder = context.write_to("data/curated")
    folder.mkdir(parents=True)
    (folder / "steps.txt").write_text("three")
    return StageReport(num_in=3, num_out=3)


STAGE.main(run)
"""
PIPELINE = """
stages:
  first:
    cmd: cp given.txt first.txt
    deps: [given.txt]
    outs: [first.txt]
  curate:
    desc: Takes three steps
    meta: {slots: [cpu]}
    cmd: exec python steps.py
    deps: [steps.py, given.txt, first.txt]
    params: [curate]
    outs: [data/curated]
    metrics: [metrics/curate.json]
"""


def wait_until(is_true: Callable[[], bool], what: str) -> None:
    """Look again until it is true; far longer than it can take."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


@dataclass
class Project:
    """A DVC project without git, and every process that a test has started in it."""

    root: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `python words` in the project, without a terminal or an input."""
        with self.output_of(len(self.started)).open("w") as output:
            child = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(child)
        return child

    def output_of(self, number: int) -> Path:
        """Return the file with what the process of that number has said."""
        return self.root / f"output-{number}.txt"

    def run(self, *words: str) -> str:
        """Run `python words` to its end and return what it said."""
        number = len(self.started)
        status = self.start(*words).wait()
        output = self.output_of(number).read_text()
        assert status == 0, output
        return output

    def dvc(self, *words: str) -> str:
        return self.run("-m", "dvc", *words)

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.root, env=self.environment, check=True, capture_output=True
        )
        return done.stdout.decode()

    def flow(self, *words: str) -> list[str]:
        """Run the flow to its end and return the states of its stages, in order."""
        output = self.run("-m", "flows.reproduce", "--root", str(self.root), *words)
        rows = [line.split() for line in output.splitlines()]
        return [row[1] for row in rows if len(row) == 2 and row[0] in ("first", "curate")]

    def says(self, number: int, text: str) -> None:
        """Wait until the process of that number has said this."""
        path = self.output_of(number)
        wait_until(lambda: text in path.read_text(), f"not said: {text}")

    def change_params(self, old: str, new: str) -> None:
        params = self.root / "params.yaml"
        text = params.read_text()
        assert old in text
        params.write_text(text.replace(old, new))

    def hold(self) -> None:
        """Let the next run of the stage wait in its second step."""
        (self.root / "hold").write_text("")
        (self.root / "held").unlink(missing_ok=True)

    def release(self) -> None:
        """Let later runs go on to the end."""
        (self.root / "hold").unlink()

    def wait_for_stage(self) -> int:
        """Wait until the stage is held; return its process id."""
        held = self.root / "held"
        wait_until(lambda: held.exists() and held.read_text() != "", "the stage did not start")
        return int(held.read_text())

    def starts(self) -> list[int]:
        """Return how many steps each run of the stage found done."""
        return [int(line) for line in (self.root / "starts.txt").read_text().split()]

    def alive(self, *, but: tuple[int, ...] = ()) -> dict[int, str]:
        """Return the command of each process of this project, from the table of the kernel."""
        mark = f"{_MARK}={self.root}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = mark in (folder / "environ").read_bytes().split(b"\0")
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if is_ours and state != "Z" and int(folder.name) not in but:
                found[int(folder.name)] = words
        return found

    def wait_until_empty(self, *, but: tuple[int, ...] = ()) -> None:
        """Wait until no process of this project is left."""
        wait_until(lambda: not self.alive(but=but), f"still running: {self.alive(but=but)}")

    def end_all(self) -> None:
        """End what a test has started; one that failed may have left more behind."""
        for child in self.started:
            child.kill()
            child.wait()
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


def make_environment(root: Path) -> dict[str, str]:
    """Return a bare environment: no SHELL, no TERM, no Prefect of whoever runs the tests."""
    odd = ("PREFECT", "DVC", "AGENTIC", "SHELL", "TERM")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(odd)}
    return {
        **environment,
        _MARK: str(root),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        # A machine that is busy with other work may be very slow.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
        "PREFECT_API_REQUEST_TIMEOUT": "600",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "600",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "600",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
    }


def write_steps(root: Path) -> None:
    (root / "steps.py").write_text(STEPS)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "given.txt").write_text("given")


@pytest.fixture
def _no_init() -> Iterator[None]:
    """Take in orphans and collect none of them, as the first process of most containers does.

    DVC takes the dead for living ones as long as they stand in the table of processes.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


@pytest.fixture
def steps_project(project: Path, _no_init: None) -> Iterator[Project]:
    """Give a project whose stage `curate` takes three steps and can be held in the second."""
    made = Project(project, make_environment(project))
    write_steps(project)
    Repo.init(str(project), no_scm=True).close()
    yield made
    made.end_all()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a Prefect server with a database of its own."""
    home = tmp_path_factory.mktemp("server")
    address = f"http://127.0.0.1:{free_port()}/api"
    environment = {
        **make_environment(home),
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    words = ["server", "start", "--no-services", "--host", "127.0.0.1"]
    words += ["--port", address.removesuffix("/api").rpartition(":")[2]]
    with (home / "output.txt").open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "prefect", *words],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: child.poll() is not None or answers(f"{address}/health"), "no server")
        assert child.poll() is None, (home / "output.txt").read_text()
        yield address
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).ok
    except requests.RequestException:
        return False


@pytest.fixture
def committed_project(project: Path, server: str, _no_init: None) -> Iterator[Project]:
    """Give the project with three steps as a git repository with one commit; it has a server."""
    made = Project(project, {**make_environment(project), "PREFECT_API_URL": server})
    write_steps(project)
    ignored = ["/logs", "/.scratch", "/output-*", "/starts.txt", "/metrics/timings*", "/hold"]
    (project / ".gitignore").write_text("\n".join([*ignored, "/held", ""]))
    made.git("init", "--quiet")
    Repo.init(str(project)).close()
    # Deployments name the code of their flow relative to the checkout.
    (project / "flows").symlink_to(ROOT / "flows")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "start")
    yield made
    made.end_all()


@pytest.fixture
def served_project(steps_project: Project, server: str) -> Project:
    """Give the project with three steps, whose flows talk to the server."""
    steps_project.environment["PREFECT_API_URL"] = server
    return steps_project
