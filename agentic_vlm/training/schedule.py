"""Which trajectories share a step, and which of them share a packed row.

The whole run is planned from the lengths and the seed before it starts. A resumed run follows the
same plan, and so does a run on several processes, of which each takes every W-th row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Schedule:
    """The rows of a run, in order."""

    rows: list[list[int]]
    """Numbers of the trajectories of each packed row; `rows_per_step` rows are one step."""
    rows_per_step: int


def plan_schedule(
    lengths: Sequence[int],
    *,
    num_steps: int,
    batch_size: int,
    batch_tokens: int | None,
    row_tokens: int,
    seed: int,
    num_ranks: int = 1,
) -> Schedule:
    """Return the schedule of a run.

    Trajectories are shuffled anew in every pass over them, so that each is seen equally often.

    Args:
        lengths: tokens of each trajectory.
        num_steps: optimiser steps.
        batch_size: trajectories per step.
        batch_tokens: most tokens per step instead; absent, `batch_size` counts.
        row_tokens: most tokens of a row. A longer trajectory has a row of its own.
        seed: of the order.
        num_ranks: the rows of a step are a multiple of it.

    Raises:
        ValueError: there are no trajectories, or fewer per step than ranks.
    """
    if not lengths:
        raise ValueError("there are no trajectories to train on: look at data/sft/rejections")
    order = _endless_order(len(lengths), seed=seed)
    if batch_tokens is None:
        steps = [[next(order) for _ in range(batch_size)] for _ in range(num_steps)]
    else:
        steps = _fill_steps(order, lengths, num_steps=num_steps, batch_tokens=batch_tokens)
    smallest = min(len(step) for step in steps)
    if smallest < num_ranks:
        raise ValueError(f"a step has {smallest} trajectories for {num_ranks} processes")
    heaviest = max(sum(lengths[number] for number in step) for step in steps)
    needed = min(-(-heaviest // row_tokens), smallest)
    num_rows = max(-(-needed // num_ranks) * num_ranks, num_ranks)
    if num_rows > smallest:
        num_rows -= num_ranks
    while num_rows + num_ranks <= smallest and not all(
        max(_loads(_spread(step, lengths, num_rows), lengths)) <= row_tokens for step in steps
    ):
        num_rows += num_ranks
    rows = [row for step in steps for row in _spread(step, lengths, num_rows)]
    return Schedule(rows, num_rows)


def _endless_order(size: int, *, seed: int) -> Iterator[int]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(size, generator=generator).tolist()


def _fill_steps(
    order: Iterator[int], lengths: Sequence[int], *, num_steps: int, batch_tokens: int
) -> list[list[int]]:
    steps: list[list[int]] = [[]]
    total = 0
    while True:
        number = next(order)
        if steps[-1] and total + lengths[number] > batch_tokens:
            if len(steps) == num_steps:
                return steps
            steps.append([])
            total = 0
        steps[-1].append(number)
        total += lengths[number]


def _spread(step: Sequence[int], lengths: Sequence[int], num_rows: int) -> list[list[int]]:
    """Spread a step over rows of nearly equal length: longest first, each to the shortest row."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    loads = [0] * num_rows
    for number in sorted(step, key=lambda one: (-lengths[one], one)):
        # Rows that are still empty come first, so that none stays empty.
        at = min(range(num_rows), key=lambda row: (bool(rows[row]), loads[row], row))
        rows[at].append(number)
        loads[at] += lengths[number]
    return rows


def _loads(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    return [sum(lengths[number] for number in row) for row in rows]
