"""When a rule about right attempts is settled, and how many attempts it surely still needs.

Source: DeepEyesV2, section 3.2: keep a question with at most 2 of 8 right attempts without tools;
with tools, one right attempt of 8 sends it to RL. Once enough attempts agree, the rest cannot
change the decision, so stopping there is exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from agentic_vlm.schema import Probe, ProbeMode, Verdict


class Decision(StrEnum):
    """What a rule says about a sample."""

    YES = "yes"
    NO = "no"
    OPEN = "open"
    """More attempts are needed."""
    UNKNOWABLE = "unknowable"
    """All attempts are made, but too many were not graded or failed for reasons of ours."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of one sample in one mode."""

    num_correct: int = 0
    num_unknown: int = 0
    """Attempts that were made and have no verdict: infrastructure, or ungraded."""
    num_made: int = 0
    """Attempts that were made, those of no verdict included."""

    def plus(self, verdict: Verdict | None) -> "Tally":
        """Return the tally with one more attempt."""
        return Tally(
            self.num_correct + (verdict is Verdict.CORRECT),
            self.num_unknown + (verdict not in (Verdict.CORRECT, Verdict.INCORRECT)),
            self.num_made + 1,
        )


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Are at least `threshold` of `num_attempts` attempts right?"""

    threshold: int
    num_attempts: int

    def decide(self, tally: Tally) -> Decision:
        """Return what is certain, whatever attempts without verdict would have been."""
        if tally.num_correct >= self.threshold:
            return Decision.YES
        if tally.num_correct + self._num_left(tally) + tally.num_unknown < self.threshold:
            return Decision.NO
        return Decision.OPEN if self._num_left(tally) else Decision.UNKNOWABLE

    def num_surely_needed(self, tally: Tally) -> int:
        """Return how many further attempts are made whatever their outcomes; 0 once settled."""
        if self.decide(tally) is not Decision.OPEN:
            return 0
        until_yes = self.threshold - tally.num_correct
        possible = tally.num_correct + tally.num_unknown + self._num_left(tally)
        until_no = possible - self.threshold + 1
        return min(until_yes, until_no, self._num_left(tally))

    def _num_left(self, tally: Tally) -> int:
        return self.num_attempts - tally.num_made


def too_easy(max_direct_successes: int, *, num_attempts: int) -> AtLeast:
    """Return the difficulty filter: YES means that the base can do it without tools."""
    return AtLeast(max_direct_successes + 1, num_attempts)


def helped_by_tools(min_tool_successes: int, *, num_attempts: int) -> AtLeast:
    """Return the tool-benefit split: YES means that the sample can be learned by RL."""
    return AtLeast(min_tool_successes, num_attempts)


def tally_probes(probes: Iterable[Probe]) -> dict[tuple[str, ProbeMode], Tally]:
    """Return the tallies of the attempts that were made, by sample and mode."""
    tallies: dict[tuple[str, ProbeMode], Tally] = {}
    for probe in probes:
        if probe.is_needed:
            key = (probe.sample_id, probe.mode)
            tallies[key] = tallies.get(key, Tally()).plus(probe.verdict)
    return tallies
