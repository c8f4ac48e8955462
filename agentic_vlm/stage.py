"""Stage: the declaration and the runner of a stage of the pipeline.

A stage module says what it reads and writes, and hands its function to the runner:

    STAGE = Stage(name="curate", doc="...", reads=("data/raw",), writes=("data/curated",))

    def run(context: StageContext) -> StageReport: ...

    if __name__ == "__main__":
        STAGE.main(run)
"""

import argparse
import itertools
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeVar

from agentic_vlm.errors import AgenticError, ArtifactMissing, BooksError
from agentic_vlm.log import accounting_line, setup_logging
from agentic_vlm.params import SHARED_SECTIONS, Params, load_params
from agentic_vlm.progress import Progress
from agentic_vlm.runlog import RunLog, write_json
from agentic_vlm.store import fingerprint, logging_latencies

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage did with its rows."""

    num_in: int
    """Rows read; for attempt stages, samples times attempts."""
    num_out: int
    """Rows written."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows not passed on, by reason; for attempt stages, `not_needed`."""
    summary: Mapping[str, object] = field(default_factory=dict)
    """More figures for metrics/<stage>.json. Functions of inputs and params only: no clock."""


@dataclass(frozen=True)
class StageContext:
    """What the function of a stage gets."""

    stage: "Stage"
    """The declaration."""
    root: Path
    """Root of the project; every path in a declaration is relative to it."""
    params: Params
    """The whole of params.yaml; a stage uses its own section and the shared ones."""
    variant: str
    """The member of the matrix that runs, such as `base`; empty for stages without one."""
    limit: int | None
    """Rows to read in a dry run; absent in a real one."""
    run_log: RunLog
    """Takes the seconds of steps; see `timed`."""
    dry_root: Path
    """Where a dry run writes; removed afterwards."""

    def read_from(self, path: str) -> Path:
        """Return the place of an input.

        Raises:
            ArtifactMissing: it does not exist.
        """
        place = self.root / path
        if not place.exists():
            fix = f"run the stage that writes {path}; `python -m stages` says which one"
            raise ArtifactMissing(path, f"{self.stage.name} reads this, and it is missing", fix)
        return place

    def write_to(self, path: str) -> Path:
        """Return the place of an output; in a dry run, a place that is thrown away."""
        return (self.dry_root if self.is_dry else self.root) / path

    def limited(self, rows: Iterable[T]) -> Iterator[T]:
        """Yield the rows, or the first `limit` of them in a dry run."""
        return itertools.islice(rows, self.limit)

    def progress(self, title: str, *, total: int) -> Progress:
        """Return a progress display; use it in a `with` statement."""
        return Progress(f"{self.stage.name}: {title}", total=total)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the seconds of the block to the step of that name in metrics/timings.json."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.run_log.add_step(step, time.perf_counter() - start)

    @property
    def is_dry(self) -> bool:
        """Whether nothing tracked may be written."""
        return self.limit is not None

    @cached_property
    def scratch(self) -> Path:
        """Folder for resumable work: the same for the same params, inputs and code."""
        if self.is_dry:
            return self.dry_root / "scratch"
        names = (*SHARED_SECTIONS, self.stage.name)
        sections = self.params.model_dump_json(include=set(names))
        inputs = [self.read_from(path) for path in self.stage.inputs(self.variant)]
        code = Path(__file__).parent
        digest = fingerprint(self.stage.run_name(self.variant), sections, code, *inputs)
        folder = self.stage.scratch_root(self.root, self.variant) / digest
        folder.mkdir(parents=True, exist_ok=True)
        return folder


RunStage = Callable[[StageContext], StageReport]


@dataclass(frozen=True, slots=True)
class Stage:
    """Declaration of a stage: one row of `python -m stages`."""

    name: str
    """Name of the DVC stage, the module and the section of params.yaml."""
    doc: str
    """What it does, in one sentence."""
    reads: tuple[str, ...] = ()
    """Inputs: files or folders relative to the root. With a matrix, its name in braces stands for
    the member: `models/{model}`."""
    writes: tuple[str, ...] = ()
    """Outputs, likewise."""
    matrix: str = ""
    """Name of the option that chooses the member of a DVC matrix, such as `model`."""
    keeps_books: bool = True
    """Whether rows in must equal rows out plus rows left out. Not for training and reports."""

    def run_name(self, variant: str) -> str:
        """Return the name of one run: `curate`, `evaluate-base`."""
        return f"{self.name}-{variant}" if variant else self.name

    def inputs(self, variant: str) -> tuple[str, ...]:
        """Return what one run reads: `models/{model}` is `models/base` for the member `base`."""
        return tuple(path.replace(f"{{{self.matrix}}}", variant) for path in self.reads)

    def outputs(self, variant: str) -> tuple[str, ...]:
        """Return what one run writes, filled in likewise."""
        return tuple(path.replace(f"{{{self.matrix}}}", variant) for path in self.writes)

    def scratch_root(self, root: Path, variant: str) -> Path:
        """Return the folder that holds the scratch folders of all fingerprints."""
        return root / ".scratch" / self.run_name(variant)

    def metrics_path(self, variant: str) -> str:
        """Return where the summary goes: metrics/curate.json, metrics/evaluate/base.json."""
        return f"metrics/{self.name}/{variant}.json" if variant else f"metrics/{self.name}.json"

    def execute(
        self,
        run: RunStage,
        *,
        root: Path,
        variant: str = "",
        limit: int | None = None,
    ) -> StageReport:
        """Run the stage in this process: params, books, summary, seconds.

        Args:
            run: the function of the stage module.
            root: root of the project, with params.yaml.
            variant: member of the matrix; empty for stages without one.
            limit: read that many rows and write nothing tracked.

        Raises:
            AgenticError: params, inputs, rows or books are wrong.
        """
        run_log = RunLog(self.run_name(variant))
        with (
            tempfile.TemporaryDirectory(prefix="agentic-dry-") as dry_root,
            logging_latencies(self.scratch_root(root, variant), is_dry=limit is not None),
        ):
            context = StageContext(
                stage=self,
                root=root,
                params=load_params(root / "params.yaml"),
                variant=variant,
                limit=limit,
                run_log=run_log,
                dry_root=Path(dry_root),
            )
            report = run(context)
        if self.keeps_books:
            check_books(self.name, report)
        if limit is None:
            write_json(root / self.metrics_path(variant), _summary(report))
            run_log.write(root, params=context.params, report=report)
            shutil.rmtree(self.scratch_root(root, variant), ignore_errors=True)
        return report

    def main(self, run: RunStage, arguments: Sequence[str] | None = None) -> NoReturn:
        """Run the stage as a command; exits 0, or 1 with two lines that say what to do."""
        options = self._parser().parse_args(arguments)
        variant = getattr(options, self.matrix) if self.matrix else ""
        log_file = options.root / "logs" / f"{self.run_name(variant)}.log"
        setup_logging(is_verbose=options.verbose, file=log_file)
        try:
            report = self.execute(run, root=options.root, variant=variant, limit=options.limit)
        except AgenticError as error:
            _fail(str(error), is_debug=options.debug)
        except Exception as error:
            what = f"{self.name}: {type(error).__name__}: {error}"
            logger.exception("%s failed", self.name)
            _fail(f"{what}\n  fix: the traceback is in {log_file}", is_debug=options.debug)
        line = accounting_line(
            self.run_name(variant),
            num_in=report.num_in,
            num_out=report.num_out,
            left_out=report.left_out,
        )
        logger.info("%s", line)
        note = "" if options.limit is None else " (dry run: nothing written)"
        sys.stdout.write(f"{line}{note}\n")
        sys.exit(0)

    def _parser(self) -> argparse.ArgumentParser:
        choice = f" --{self.matrix} base" if self.matrix else ""
        parser = argparse.ArgumentParser(
            prog=f"python -m stages.{self.name}",
            description=self.doc,
            epilog=f"Example: python -m stages.{self.name}{choice} --limit 20",
        )
        if self.matrix:
            parser.add_argument(f"--{self.matrix}", required=True, help="member of the matrix")
        parser.add_argument(
            "--limit", type=int, metavar="N", help="dry run on N rows: writes nothing tracked"
        )
        parser.add_argument("--root", type=Path, default=Path(), help="root of the project")
        parser.add_argument("--verbose", action="store_true", help="log to the terminal too")
        parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return parser


def check_books(name: str, report: StageReport) -> None:
    """Demand that rows in equal rows out plus rows left out.

    Raises:
        BooksError: they do not.
    """
    num_left_out = sum(report.left_out.values())
    if report.num_in != report.num_out + num_left_out:
        raise BooksError(
            name,
            f"{report.num_in} rows in, but {report.num_out} out and {num_left_out} left out",
            "every row must be written or rejected with a reason; this is a fault of the stage",
        )


def num_threads() -> int:
    """Return how many threads numeric code may use: AGENTIC_THREADS, 2 where it is not set."""
    return int(os.environ.get("AGENTIC_THREADS", "2"))


def _summary(report: StageReport) -> dict[str, object]:
    counts = {"num_in": report.num_in, "num_out": report.num_out}
    return {**counts, "left_out": dict(sorted(report.left_out.items())), **report.summary}


def _fail(message: str, *, is_debug: bool) -> NoReturn:
    """Write the message and exit 1; with `is_debug`, raise the error that is being handled."""
    error = sys.exception()
    if is_debug and error is not None:
        raise error
    sys.stderr.write(f"{message}\n")
    sys.exit(1)


__all__ = ["RunStage", "Stage", "StageContext", "StageReport", "check_books", "num_threads"]
