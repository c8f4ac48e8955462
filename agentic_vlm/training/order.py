"""The order of prompts: fixed by seed and epoch, whatever ran before."""

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
