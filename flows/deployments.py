"""What a Prefect server has to know: pools, limits, and the flows that can be started there."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from flows.pools import stage
from flows.settings import ROOT_VARIABLE

_CHECKOUT = {
    "prefect.deployments.steps.set_working_directory": {"directory": "{{ $" + ROOT_VARIABLE + " }}"}
}
"""Each worker runs in its own checkout, which its environment names."""


def register_stage(pool: str) -> None:
    """Let flows send single stages to a pool; makes the pool where it is missing."""
    with get_client(sync_client=True) as client:
        make_pool(client, pool)
        flow_id = client.create_flow(stage)
        client.create_deployment(
            flow_id,
            name=pool,
            work_pool_name=pool,
            entrypoint="flows/pools.py:stage",
            pull_steps=[_CHECKOUT],
            parameter_openapi_schema=parameter_schema(stage).model_dump_for_openapi(),
            description=f"One stage, in a checkout of the pool {pool}",
        )


def register_all(root: Path, *, pool: str, slots: Iterable[str]) -> None:
    """Make the pool, a limit of one per slot, and the deployments of prefect.yaml.

    Limits that are there keep their size.

    Raises:
        CalledProcessError: Prefect refused prefect.yaml; it has said why.
    """
    with get_client(sync_client=True) as client:
        make_pool(client, pool)
        for slot in slots:
            _make_limit(client, slot)
    words = ["-m", "prefect", "--no-prompt", "deploy", "--all"]
    subprocess.run([sys.executable, *words], cwd=root, env=os.environ, check=True)


def make_pool(client: SyncPrefectClient, name: str) -> None:
    """Make a pool of processes, unless there is one of that name."""
    template = ProcessWorker.get_default_base_job_template()
    with contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", base_job_template=template)
        )


def _make_limit(client: SyncPrefectClient, slot: str) -> None:
    limit = GlobalConcurrencyLimitCreate(name=slot, limit=1)
    with contextlib.suppress(ObjectAlreadyExists):
        client.create_global_concurrency_limit(limit)
