"""ModelJudge: asks a model, once per question, within a budget."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading.attempt import Attempt
from agentic_vlm.grading.judge import JudgedAnswer
from agentic_vlm.grading.judges import attempt as attempts
from agentic_vlm.grading.judges.askers import Asker, Reply
from agentic_vlm.grading.judges.budget import JudgeBudget, JudgeCounts, Ledger
from agentic_vlm.grading.judges.cache import VerdictCache
from agentic_vlm.grading.judges.prompt import JudgePrompt, load_prompt, parse_reply, render_question
from agentic_vlm.grading.judges.rubric import (
    fill_group,
    fill_rubric,
    parse_group_reply,
    parse_rubric_reply,
)
from agentic_vlm.schema import Judgement, Verdict, content_id

# A benchmark's rubric is the whole message: no system prompt stands before it.
_RUBRIC = JudgePrompt("rubric", "")


# The same question at temperature 0 may get another reply: servers batch as requests come in.
_GROUP_TRIES = 3


class _ReadOne(Protocol):
    def __call__(self, text: str, *, is_cut: bool) -> Verdict | None: ...


class _ReadAll(Protocol):
    def __call__(self, text: str, *, is_cut: bool) -> tuple[Verdict, ...] | None: ...


@dataclass(frozen=True, slots=True)
class _Case:
    """One request to the model, how its reply is read, and which answers it is about."""

    prompt: JudgePrompt
    message: str
    read: _ReadAll
    answers: tuple[JudgedAnswer, ...]
    num_tries: int = 1
    """Requests until a reply keeps to the form."""


def _one(
    prompt: JudgePrompt, message: str, read: _ReadOne, question: str, answer: str,
    references: tuple[str, ...],
) -> _Case:  # fmt: skip
    """Return the case of one answer."""

    def read_all(text: str, *, is_cut: bool) -> tuple[Verdict, ...] | None:
        verdict = read(text, is_cut=is_cut)
        return None if verdict is None else (verdict,)

    return _Case(prompt, message, read_all, (JudgedAnswer(question, answer, references),))


class ModelJudge:
    """A model as judge; equal questions are asked once, by this run or an earlier one."""

    def __init__(
        self,
        asker: Asker | None,
        *,
        name: str,
        prompt: JudgePrompt,
        cache: VerdictCache,
        budget: JudgeBudget | None = None,
        max_tokens: int = 2048,
        max_concurrent: int = 16,
    ) -> None:
        """Keep the parts.

        Args:
            asker: who answers; None replays the cache, and an unknown question is an outage.
            name: names the model in the cache.
            prompt: the system prompt.
            cache: known verdicts.
            budget: limits of this run; absent: none.
            max_tokens: of one reply; must leave room for the reasoning that the prompt asks for.
            max_concurrent: requests at the same time.
        """
        self._asker = asker
        self._name = name
        self._prompt = prompt
        self._cache = cache
        self._ledger = Ledger(budget or JudgeBudget())
        self._max_tokens = max_tokens
        self._slots = asyncio.Semaphore(max_concurrent)
        self._pending: dict[str, asyncio.Future[list[Judgement]]] = {}

    @property
    def counts(self) -> JudgeCounts:
        """What was asked so far."""
        return self._ledger.counts

    @property
    def cost(self) -> float:
        """What it has cost so far, in the currency of the prices."""
        return self._ledger.cost

    async def judge(self, question: str, *, answer: str, references: tuple[str, ...]) -> Verdict:
        """Return the verdict; `ungraded` where the model is undecided or keeps to no form.

        Raises:
            JudgeUnavailable: the model failed, the budget is spent, or a replay has no verdict.
        """
        message = render_question(question, answer=answer, references=references)
        case = _one(self._prompt, message, parse_reply, question, answer, references)
        return (await self._decide(case))[0].verdict

    async def judge_attempt(
        self, question: str, *, answer: str, references: tuple[str, ...]
    ) -> Attempt:
        """Return whether an answer is right, wrong or not attempted, by a prompt of its own.

        Raises:
            JudgeUnavailable: as in `judge`.
        """
        prompt = load_prompt(attempts.PROMPT, folder=attempts.FOLDER)
        message = render_question(question, answer=answer, references=references)
        case = _one(prompt, message, attempts.verdict_of_reply, question, answer, references)
        (row,) = await self._decide(case)
        # The verdict alone does not tell wrong from not attempted; the reply that is kept does.
        attempt = attempts.parse_attempt_reply(row.reply, is_cut=not row.is_parsed)
        return Attempt.UNDECIDED if attempt is None else attempt

    async def judge_by_rubric(
        self, rubric: str, *, question: str, answer: str, references: tuple[str, ...]
    ) -> Verdict:
        """Return the verdict by a benchmark's rubric; `ungraded` where the reply has no score.

        Raises:
            JudgeUnavailable: as in `judge`.
        """
        message = fill_rubric(rubric, answer)
        case = _one(_RUBRIC, message, parse_rubric_reply, question, answer, references)
        return (await self._decide(case))[0].verdict

    async def judge_group(self, rubric: str, answers: Sequence[JudgedAnswer]) -> list[Verdict]:
        """Return the verdicts on a group, asked about in one request.

        A reply that does not tell all of them is asked for again, with room for twice the tokens if
        it was cut off; in the end all are `ungraded`. What is said of an answer may depend on the
        others, so a verdict is known only for the same group.

        Raises:
            JudgeUnavailable: as in `judge`.
        """
        read = partial(parse_group_reply, num_answers=len(answers))
        message = fill_group(rubric, answers)
        case = _Case(_RUBRIC, message, read, tuple(answers), num_tries=_GROUP_TRIES)
        return [row.verdict for row in await self._decide(case)]

    async def _decide(self, case: _Case) -> list[Judgement]:
        key = content_id(self._name, str(self._max_tokens), case.prompt.digest, case.message)
        known = [row for one in _keys(key, case) if (row := self._cache.get(one)) is not None]
        if len(known) == len(case.answers):
            self.counts.num_cached += len(known)
            return known
        if key in self._pending:
            self.counts.num_cached += len(case.answers)
            return await asyncio.shield(self._pending[key])

        task = asyncio.ensure_future(self._ask(key, case))
        self._pending[key] = task
        try:
            return await task
        finally:
            self._pending.pop(key, None)

    def note_disagreement(self) -> None:
        """Count an answer that a rule calls incorrect and the judge correct."""
        self.counts.num_overruled += 1

    async def close(self) -> None:
        """Write new verdicts and release the model."""
        self._cache.flush()
        if self._asker is not None:
            await self._asker.close()

    async def _ask(self, key: str, case: _Case) -> list[Judgement]:
        if self._asker is None:
            self.counts.num_unavailable += 1
            raise JudgeUnavailable(
                f"judge {self._name}, replayed",
                "no verdict on this question in the cache",
                "run once with grading.judge: openai or local, then replay",
            )
        async with self._slots:
            reply, verdicts = await self._read(self._asker, case)
        rows = self._to_rows(key, case, reply, verdicts)
        for row in rows:
            self._count(row)
            self._cache.add(row)
        return rows

    async def _read(self, asker: Asker, case: _Case) -> tuple[Reply, tuple[Verdict, ...] | None]:
        """Return the first reply that keeps to the form, else the last one."""
        max_tokens = self._max_tokens
        for num_left in reversed(range(case.num_tries)):
            self._ledger.book_call()
            try:
                reply = await asker.ask(case.prompt.text, case.message, max_tokens=max_tokens)
            except JudgeUnavailable:
                self.counts.num_unavailable += 1
                raise
            self._ledger.book_tokens(prompt=reply.num_prompt_tokens, reply=reply.num_reply_tokens)
            verdicts = case.read(reply.text, is_cut=reply.is_cut)
            if verdicts is not None or not num_left:
                break
            max_tokens *= 2 if reply.is_cut else 1
        return reply, verdicts

    def _to_rows(
        self, key: str, case: _Case, reply: Reply, verdicts: tuple[Verdict, ...] | None
    ) -> list[Judgement]:
        def clean(text: str) -> str:
            return text.encode("utf-8", "replace").decode()

        is_parsed = verdicts is not None
        verdicts = verdicts or (Verdict.UNGRADED,) * len(case.answers)
        rows = zip(_keys(key, case), case.answers, verdicts, strict=True)
        return [
            Judgement(
                key=one,
                judge=self._name,
                prompt=case.prompt.name,
                question=clean(judged.question),
                references=tuple(map(clean, judged.references)),
                answer=clean(judged.answer),
                verdict=verdict,
                is_parsed=is_parsed,
                reply=clean(reply.text),
                # The tokens of a group stand with its first answer, so that sums are right.
                num_prompt_tokens=0 if place else reply.num_prompt_tokens,
                num_reply_tokens=0 if place else reply.num_reply_tokens,
            )
            for place, (one, judged, verdict) in enumerate(rows)
        ]

    def _count(self, row: Judgement) -> None:
        counts = self.counts
        counts.num_correct += row.verdict is Verdict.CORRECT
        counts.num_incorrect += row.verdict is Verdict.INCORRECT
        counts.num_unparsed += not row.is_parsed
        counts.num_undecided += row.is_parsed and row.verdict is Verdict.UNGRADED


def _keys(key: str, case: _Case) -> list[str]:
    """Return the key of each answer of a request: that of the request where it is about one."""
    if len(case.answers) == 1:
        return [key]
    return [content_id(key, str(place)) for place in range(len(case.answers))]
