"""One run with its own params beside others: a worktree of the last commit, kept as an experiment.

The run shows beside those of `dvc exp run` in `dvc exp show`, and `dvc exp apply` brings it here.
"""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.params import write_params
from flows.pipeline import pipeline
from flows.proc import ending_children, ending_with_worker
from flows.repro import run_dvc
from flows.settings import prepare_environment
from flows.workspace import claim_records
from flows.worktree import ask, close_worktree, open_worktree

_WORKTREES = ".scratch/runs"
_SUMMARY = "metrics/summary.json"


@flow(name="experiment")
def experiment(
    recipe: str = "",
    overrides: list[str] | None = None,
    targets: list[str] | None = None,
    force: bool = False,
    name: str = "",
    root: Path = Path(),
) -> str:
    """Run the pipeline in a worktree of its own and record it as a DVC experiment.

    The last commit is run: edits that are not committed are no part of it.

    Args:
        recipe: name of a recipe to lay over params.yaml; empty for none.
        overrides: values to set in params.yaml, such as `train_rl.num_steps=3`.
        targets: stages to run with everything upstream of them; none for all.
        force: run every stage, up to date or not.
        name: name of the experiment; empty for that of the flow run. A run of the same name that
            was killed is resumed.
        root: root of the project.

    Returns:
        The name of the experiment.

    Raises:
        ExperimentFailed: git or DVC refused.
        StageFailed: DVC could not record the run.
    """
    prepare_environment()
    root = root.resolve()
    logger = get_run_logger()
    title = name or str(flow_run.name)
    place = root / _WORKTREES / title
    revision = ask(["git", "rev-parse", "HEAD"], cwd=root)
    open_worktree(root, place, revision=revision)
    logger.info("%s runs in %s at %s", title, place, revision[:12])
    write_params(place / "params.yaml", recipe=recipe, overrides=overrides or ())
    with ending_with_worker(), ending_children():
        pipeline(targets=targets, force=force, root=place)
        words = ["exp", "save", "--force", "--name", title]
        # DVC leaves out a metrics file without cache that no commit holds yet.
        if (place / _SUMMARY).exists():
            words += ["--include-untracked", _SUMMARY]
        with claim_records(root, say=logger.info):
            run_dvc(*words, root=place, on_line=lambda line: logger.info("%s", line))
    close_worktree(root, place)
    logger.info("recorded: dvc exp show; dvc exp apply %s brings it here", title)
    return title
