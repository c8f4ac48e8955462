"""Fair choices: a limit is shared among groups by size, and within a group decided by a digest."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from agentic_vlm.schema import content_id

T = TypeVar("T")


def share_out(sizes: Mapping[str, int], limit: int) -> dict[str, int]:
    """Return how many of each group fit into the limit, in proportion to the sizes.

    >>> share_out({"a": 60, "b": 30, "c": 1}, 10)
    {'a': 7, 'b': 3, 'c': 0}
    """
    total = sum(sizes.values())
    if total <= limit:
        return dict(sizes)
    exact = {group: limit * size / total for group, size in sizes.items()}
    quotas = {group: int(share) for group, share in exact.items()}
    left = limit - sum(quotas.values())
    by_rest = sorted(sizes, key=lambda group: (quotas[group] - exact[group], group))
    for group in by_rest[:left]:
        quotas[group] += 1
    return quotas


def is_in_share(row_id: str, share: float) -> bool:
    """Return whether a row belongs to a share of its source, by a digest of its id.

    A larger share holds all rows of a smaller one.

    >>> sum(is_in_share(f"gsm8k:{number}", 0.25) for number in range(1000))
    252
    """
    return share >= 1 or int(content_id("share", row_id), 16) < share * 2**64


def choose(
    rows: Iterable[T], limit: int, *, group: Callable[[T], str], row_id: Callable[[T], str]
) -> tuple[list[T], list[T]]:
    """Return the rows that fit into the limit and the others.

    Groups get shares by their size; who is chosen within a group depends on the ids alone.
    """
    groups: dict[str, list[T]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: content_id("choose", row_id(row))):
        groups[group(row)].append(row)
    quotas = share_out({name: len(members) for name, members in sorted(groups.items())}, limit)
    kept = [row for name, members in groups.items() for row in members[: quotas[name]]]
    others = [row for name, members in groups.items() for row in members[quotas[name] :]]
    return kept, others
