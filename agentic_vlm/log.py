"""Logger set-up and the line with which a stage ends."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def setup_logging(*, is_verbose: bool = False, file: Path | None = None) -> None:
    """Send warnings, or everything from `info` up, to standard error, and all of it to a file.

    Called by command lines only. Calling it again replaces the earlier set-up.
    """
    stream = logging.StreamHandler(sys.stderr)
    stream.setLevel(logging.INFO if is_verbose else logging.WARNING)
    sinks: list[logging.Handler] = [stream]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        sinks.append(logging.FileHandler(file, encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format=_FORMAT, handlers=sinks, force=True)
    # These speak about every request and every figure.
    for name in ("httpx", "httpx2", "matplotlib", "PIL", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def accounting_line(
    name: str, *, num_in: int, num_out: int, left_out: Mapping[str, int] | None = None
) -> str:
    """Return the line that says what became of the rows of a stage.

    >>> accounting_line("curate", num_in=3, num_out=1, left_out={"no_answer": 1, "duplicate": 1})
    'curate: 3 in -> 1 out; 1 duplicate, 1 no_answer'
    >>> accounting_line("index", num_in=0, num_out=0)
    'index: 0 in -> 0 out'
    """
    line = f"{name}: {num_in} in -> {num_out} out"
    if not left_out:
        return line
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    return f"{line}; {reasons}"
