"""Shards give the same results in the same order, wherever they run."""

import functools
import importlib
import importlib.util
import json
import os
import shutil
import tempfile
import textwrap

import pytest

from agentic_vlm.curation.executor import map_shards
from agentic_vlm.errors import InfrastructureError, ParamsError
from agentic_vlm.params import read_yaml
from stages import curate, ingest

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed (extra `ray`)"
)


def squares(shard):
    return [number * number for number in shard]


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch):
    monkeypatch.delenv("AGENTIC_EXECUTOR", raising=False)


@pytest.mark.parametrize(("num_items", "shard_size"), [(0, 3), (1, 3), (3, 3), (10, 3), (2, 100)])
def test_results_come_in_the_order_of_the_items(num_items, shard_size):
    done = []
    found = map_shards(squares, iter(range(num_items)), shard_size=shard_size, on_done=done.append)
    assert list(found) == [number * number for number in range(num_items)]
    assert sum(done) == num_items
    assert all(0 < count <= shard_size for count in done)


def test_items_are_read_as_they_are_needed():
    read = []
    items = (read.append(number) or number for number in range(100))
    assert next(map_shards(squares, items, shard_size=4)) == 0
    assert len(read) == 4


def test_an_unknown_executor_is_named(monkeypatch):
    monkeypatch.setenv("AGENTIC_EXECUTOR", "spark")
    with pytest.raises(ParamsError, match="AGENTIC_EXECUTOR=spark: no executor of this name"):
        list(map_shards(squares, [1], shard_size=1))


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setenv("AGENTIC_EXECUTOR", "ray")
    with pytest.raises(ParamsError, match=r"pip install 'agentic-vlm\[ray\]'"):
        list(map_shards(squares, [1], shard_size=1))


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """Give a module whose work notes each shard and kills its worker on the first try of one."""
    path = tmp_path / "deadly_shards.py"
    path.write_text(
        textwrap.dedent(
            """
            import os, signal
            from pathlib import Path

            def work(folder, shard, *, deaths=1):
                with open(Path(folder) / f"tries-{shard[0]}", "a") as tries:
                    tries.write("x")
                if 12 in shard and len((Path(folder) / f"tries-{shard[0]}").read_text()) <= deaths:
                    os.kill(os.getpid(), signal.SIGKILL)
                return [number * number for number in shard]

            def views(folder, shard):
                from agentic_vlm.curation.pictures import view_shard

                with open(Path(folder) / f"tries-{shard[0][0]}", "a") as tries:
                    tries.write("x")
                dead = Path(folder) / "dead"
                if len(list(Path(folder).glob("tries-*"))) > 2 and not dead.exists():
                    dead.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return view_shard(shard)
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("deadly_shards").work


@pytest.fixture(scope="module")
def ray_home():
    """Give the folder where Ray keeps its token: a process reads that once, for all its clusters.

    Ray puts sockets below it as well, and their paths may have 107 signs.
    """
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ray_workers(monkeypatch, deadly, tmp_path, ray_home):
    """Give a cluster of two workers on this machine, stopped in the end."""
    import ray

    # Workers import what the environment at the start of the cluster lets them, such as `deadly`.
    places = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.setenv("AGENTIC_EXECUTOR", "ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("HOME", ray_home)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=ray_home,
    )
    yield
    ray.shutdown()


@needs_ray
@pytest.mark.slow
def test_a_worker_that_is_killed_loses_and_doubles_nothing(ray_workers, deadly, tmp_path):
    done = []
    work = functools.partial(deadly, str(tmp_path))
    found = list(map_shards(work, range(40), shard_size=4, on_done=done.append))
    assert found == [number * number for number in range(40)]
    assert done == [4] * 10
    tries = {path.name: len(path.read_text()) for path in tmp_path.glob("tries-*")}
    assert tries == {f"tries-{first}": 2 if first == 12 else 1 for first in range(0, 40, 4)}


@needs_ray
@pytest.mark.slow
def test_a_fault_of_the_work_is_the_same_error_as_without_ray(ray_workers, deadly):
    # By its module's name, since workers cannot import this file.
    work = functools.partial(deadly, "/nowhere")
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        list(map_shards(work, [1], shard_size=1))


@needs_ray
@pytest.mark.slow
def test_a_shard_that_kills_every_worker_ends_the_stage(ray_workers, deadly, tmp_path):
    work = functools.partial(deadly, str(tmp_path), deaths=99)
    with pytest.raises(InfrastructureError, match="no worker finished a shard, in 5 tries"):
        list(map_shards(work, [12], shard_size=1))


def outputs(project):
    """Return the bytes of what curate writes."""
    paths = sorted((project / "data/curated").rglob("*.parquet"))
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def ingested(project):
    """Give a project with the samples and pictures of a small world."""
    params = read_yaml(project / "params.yaml")
    few = {"perception": 6, "reasoning": 6, "search": 6, "integration": 4, "text": 2}
    counts = {"num_train": few, "num_eval_tool": few, "num_eval_direct": few}
    world = {**params["ingest"]["sources"][0], **counts, "num_entities": 60, "num_articles": 80}
    params["ingest"]["sources"] = [world]
    (project / "params.yaml").write_text(json.dumps(params))
    ingest.STAGE.execute(ingest.run, root=project)
    return project


@needs_ray
@pytest.mark.slow
def test_curate_on_two_workers_of_which_one_is_killed_writes_the_bytes_of_a_plain_run(
    ingested, tmp_path, monkeypatch, deadly, request
):
    monkeypatch.setattr(curate, "_PICTURES_PER_SHARD", 4)
    plain = curate.STAGE.execute(curate.run, root=ingested)
    expected = outputs(ingested)
    shutil.rmtree(ingested / "data/curated")
    request.getfixturevalue("ray_workers")
    notes = tmp_path / "notes"
    notes.mkdir()
    work = functools.partial(importlib.import_module("deadly_shards").views, str(notes))
    monkeypatch.setattr(curate, "view_shard", work)
    assert curate.STAGE.execute(curate.run, root=ingested) == plain
    assert outputs(ingested) == expected
    tries = sorted(len(path.read_text()) for path in notes.glob("tries-*"))
    assert tries[-1] == 2
    assert set(tries[:-1]) == {1}
    assert len(tries) > 4
