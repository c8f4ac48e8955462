"""Which attempts the probe makes next: those that are certainly needed."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
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
    """Keeps the tallies and names the attempts that come next.

    All of the direct mode comes before the first attempt with tools. In each, samples that were
    begun go on before others begin: attempts at one sample follow each other closely, so that what
    a policy computed of their prompt can be used again, and there are always enough for a batch.
    """

    def __init__(self, sample_ids: Iterable[str], rules: Rules) -> None:
        """Begin without any attempt made."""
        self._rules = rules
        self._ids = sorted(set(sample_ids))
        self._tallies: dict[tuple[str, ProbeMode], Tally] = {}
        self._phases = iter([ProbeMode.DIRECT, ProbeMode.AGENT])
        self._mode = next(self._phases)
        self._unbegun = iter(self._ids)
        self._queue: deque[Attempt] = deque()
        self._num_open: Counter[str] = Counter()
        """Attempts of the mode that were named or wait in the queue, by sample."""

    def record(self, sample_id: str, mode: ProbeMode, verdict: Verdict | None) -> None:
        """Count an attempt that was named; None is an attempt without verdict."""
        key = (sample_id, mode)
        self._tallies[key] = self._tally(*key).plus(verdict)
        self._num_open[sample_id] -= 1
        if not self._num_open[sample_id]:
            del self._num_open[sample_id]
            self._ask(sample_id)

    def next_attempts(self, size: int) -> list[Attempt]:
        """Return up to `size` attempts that are needed whatever comes of those named before.

        None are left where the list is empty and all that were named are recorded. They are a
        function of the verdicts and the order in which these were recorded.
        """
        attempts: list[Attempt] = []
        while len(attempts) < size:
            if self._queue:
                attempts.append(self._queue.popleft())
            elif not self._begin():
                break
        return attempts

    def iter_skipped(self) -> Iterator[Probe]:
        """Yield a row for every attempt that was not needed."""
        for sample_id in self._ids:
            for mode in ProbeMode:
                num_made = self._tally(sample_id, mode).num_made
                for number in range(num_made, self._rules.num_attempts):
                    yield Probe(sample_id=sample_id, mode=mode, attempt=number, is_needed=False)

    def _begin(self) -> bool:
        """Begin with another sample, if there is one for which the time has come."""
        for sample_id in self._unbegun:
            if not (self._mode is ProbeMode.AGENT and self._is_out(sample_id)):
                self._ask(sample_id)
                return True
        following = None if self._num_open else next(self._phases, None)
        if following is None:
            return False
        self._mode, self._unbegun = following, iter(self._ids)
        return True

    def _ask(self, sample_id: str) -> None:
        """Queue what a sample surely needs, all earlier attempts being recorded."""
        tally = self._tally(sample_id, self._mode)
        num_wanted = self._num_wanted(tally)
        if num_wanted:
            self._num_open[sample_id] = num_wanted
        for number in range(tally.num_made, tally.num_made + num_wanted):
            self._queue.append(Attempt(sample_id, self._mode, number))

    def _num_wanted(self, tally: Tally) -> int:
        is_direct = self._mode is ProbeMode.DIRECT
        rule = self._rules.difficulty if is_direct else self._rules.tool_benefit
        if rule is None:
            return 0
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
