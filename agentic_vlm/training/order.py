"""The order of prompts: fixed by seed and epoch, whatever ran before."""

from itertools import islice
from typing import Any

from trl.trainer.utils import RepeatSampler

from agentic_vlm.training.resume import text_digest


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order of its own for each epoch.

    TRL draws the order of an epoch from a generator that has drawn those of the epochs before; a
    run that goes on in a later epoch would see the order of the first one again.
    """

    def __init__(self, *, seed: int, **options: Any) -> None:
        """Take the seed, and the options of RepeatSampler."""
        super().__init__(seed=seed, **options)
        self._seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Fix the order of the epoch that comes next; the trainer calls it before each."""
        if self.shuffle:
            self.generator.manual_seed(int(text_digest([str(self._seed), str(epoch)]), 16) % 2**31)


def prompts_of_step(step: int, *, num_samples: int, num_prompts: int, seed: int) -> list[int]:
    """Return the numbers of the samples that a step of `num_prompts` asks about, all processes.

    The trainer deals the same ones out when it comes there: whole steps only, anew in each epoch.

    >>> first, second, third = (
    ...     prompts_of_step(step, num_samples=5, num_prompts=2, seed=0) for step in range(3)
    ... )
    >>> len({*first, *second}), len(third)
    (4, 2)
    """
    epoch, place = divmod(step, num_samples // num_prompts)
    order = EpochSampler(
        seed=seed, data_source=range(num_samples), mini_repeat_count=1, batch_size=num_prompts
    )
    order.set_epoch(epoch)
    return list(islice(order, place * num_prompts, (place + 1) * num_prompts))
