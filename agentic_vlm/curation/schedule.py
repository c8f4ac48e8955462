"""Which attempts the probe makes next: rounds of attempts that are certainly needed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentic_vlm.curation.rules import AtLeast, Decision, Tally, helped_by_tools, too_easy
from agentic_vlm.params import AllocateParams, ProbeParams
from agentic_vlm.schema import Probe, ProbeMode, Verdict


class Attempt(NamedTuple):
    """One attempt to make."""

    sample_id: str
    mode: ProbeMode
    number: int
    """0 to k - 1."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the attempts must settle; absent rules need no attempts."""

    num_attempts: int
    difficulty: AtLeast | None
    tool_benefit: AtLeast | None
    stop_early: bool

    @classmethod
    def of(cls, probe: ProbeParams, allocate: AllocateParams) -> "Rules":
        """Return the rules that the params ask for."""
        k = probe.num_attempts
        difficulty = too_easy(allocate.max_direct_successes, num_attempts=k)
        benefit = helped_by_tools(allocate.min_tool_successes, num_attempts=k)
        return cls(
            num_attempts=k,
            difficulty=difficulty if "difficulty" in probe.decide else None,
            tool_benefit=benefit if "tool_benefit" in probe.decide else None,
            stop_early=probe.stop_early,
        )


class Schedule:
    """Keeps the tallies and names the attempts of the next round."""

    def __init__(self, sample_ids: Iterable[str], rules: Rules) -> None:
        """Begin without any attempt made."""
        self._rules = rules
        self._ids = sorted(set(sample_ids))
        self._tallies: dict[tuple[str, ProbeMode], Tally] = {}

    def record(self, sample_id: str, mode: ProbeMode, verdict: Verdict | None) -> None:
        """Count an attempt; None is an attempt without verdict."""
        key = (sample_id, mode)
        self._tallies[key] = self._tally(*key).plus(verdict)

    def next_round(self) -> list[Attempt]:
        """Return attempts that are needed whatever comes of the others; empty when all is settled.

        Direct attempts of all samples come before the first attempt with tools.
        """
        direct = list(self._iter_round(ProbeMode.DIRECT, self._rules.difficulty))
        return direct or list(self._iter_round(ProbeMode.AGENT, self._rules.tool_benefit))

    def iter_skipped(self) -> Iterator[Probe]:
        """Yield a row for every attempt that was not needed."""
        for sample_id in self._ids:
            for mode in ProbeMode:
                num_made = self._tally(sample_id, mode).num_made
                for number in range(num_made, self._rules.num_attempts):
                    yield Probe(sample_id=sample_id, mode=mode, attempt=number, is_needed=False)

    def _iter_round(self, mode: ProbeMode, rule: AtLeast | None) -> Iterator[Attempt]:
        if rule is None:
            return
        for sample_id in self._ids:
            if mode is ProbeMode.AGENT and self._is_out(sample_id):
                continue
            tally = self._tally(sample_id, mode)
            num_wanted = self._num_wanted(rule, tally)
            for number in range(tally.num_made, tally.num_made + num_wanted):
                yield Attempt(sample_id, mode, number)

    def _num_wanted(self, rule: AtLeast, tally: Tally) -> int:
        if self._rules.stop_early:
            return rule.num_surely_needed(tally)
        return self._rules.num_attempts - tally.num_made

    def _is_out(self, sample_id: str) -> bool:
        """Whether the direct attempts alone decide, so that tools need not be tried."""
        difficulty = self._rules.difficulty
        if difficulty is None or not self._rules.stop_early:
            return False
        return difficulty.decide(self._tally(sample_id, ProbeMode.DIRECT)) is not Decision.NO

    def _tally(self, sample_id: str, mode: ProbeMode) -> Tally:
        return self._tallies.get((sample_id, mode), Tally())


def chunks_of(attempts: Sequence[Attempt], size: int) -> Iterator[Sequence[Attempt]]:
    """Yield the attempts of a round in pieces: the unit in which work survives a crash."""
    for start in range(0, len(attempts), size):
        yield attempts[start : start + size]
