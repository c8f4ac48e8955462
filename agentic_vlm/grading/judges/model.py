"""ModelJudge: asks a model, once per question, within a budget."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading.judges.askers import Asker, Reply
from agentic_vlm.grading.judges.budget import JudgeBudget, JudgeCounts, Ledger
from agentic_vlm.grading.judges.cache import VerdictCache
from agentic_vlm.grading.judges.prompt import JudgePrompt, parse_reply, render_question
from agentic_vlm.grading.judges.rubric import fill_rubric, parse_rubric_reply
from agentic_vlm.schema import Judgement, Verdict, content_id

# A benchmark's rubric is the whole message: no system prompt stands before it.
_RUBRIC = JudgePrompt("rubric", "")


class _ParseReply(Protocol):
    def __call__(self, text: str, *, is_cut: bool) -> Verdict | None: ...


@dataclass(frozen=True, slots=True)
class _Case:
    """One question to the model, how its reply is read, and what it is about."""

    prompt: JudgePrompt
    message: str
    parse: _ParseReply
    question: str
    answer: str
    references: tuple[str, ...]


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
        self._pending: dict[str, asyncio.Future[Judgement]] = {}

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
        case = _Case(self._prompt, message, parse_reply, question, answer, references)
        return await self._decide(case)

    async def judge_by_rubric(
        self, rubric: str, *, question: str, answer: str, references: tuple[str, ...]
    ) -> Verdict:
        """Return the verdict by a benchmark's rubric; `ungraded` where the reply has no score.

        Raises:
            JudgeUnavailable: as in `judge`.
        """
        message = fill_rubric(rubric, answer)
        case = _Case(_RUBRIC, message, parse_rubric_reply, question, answer, references)
        return await self._decide(case)

    async def _decide(self, case: _Case) -> Verdict:
        key = content_id(self._name, str(self._max_tokens), case.prompt.digest, case.message)
        known = self._cache.get(key)
        if known is not None:
            self.counts.num_cached += 1
            return known.verdict
        if key in self._pending:
            self.counts.num_cached += 1
            return (await asyncio.shield(self._pending[key])).verdict

        task = asyncio.ensure_future(self._ask(key, case))
        self._pending[key] = task
        try:
            return (await task).verdict
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

    async def _ask(self, key: str, case: _Case) -> Judgement:
        if self._asker is None:
            self.counts.num_unavailable += 1
            raise JudgeUnavailable(
                f"judge {self._name}, replayed",
                "no verdict on this question in the cache",
                "run once with grading.judge: openai or local, then replay",
            )
        async with self._slots:
            self._ledger.book_call()
            try:
                reply = await self._asker.ask(
                    case.prompt.text, case.message, max_tokens=self._max_tokens
                )
            except JudgeUnavailable:
                self.counts.num_unavailable += 1
                raise
        self._ledger.book_tokens(prompt=reply.num_prompt_tokens, reply=reply.num_reply_tokens)
        row = self._to_row(key, case, reply)
        self._count(row)
        self._cache.add(row)
        return row

    def _to_row(self, key: str, case: _Case, reply: Reply) -> Judgement:
        verdict = case.parse(reply.text, is_cut=reply.is_cut)

        def clean(text: str) -> str:
            return text.encode("utf-8", "replace").decode()

        return Judgement(
            key=key,
            judge=self._name,
            prompt=case.prompt.name,
            question=clean(case.question),
            references=tuple(map(clean, case.references)),
            answer=clean(case.answer),
            verdict=Verdict.UNGRADED if verdict is None else verdict,
            is_parsed=verdict is not None,
            reply=clean(reply.text),
            num_prompt_tokens=reply.num_prompt_tokens,
            num_reply_tokens=reply.num_reply_tokens,
        )

    def _count(self, row: Judgement) -> None:
        counts = self.counts
        counts.num_correct += row.verdict is Verdict.CORRECT
        counts.num_incorrect += row.verdict is Verdict.INCORRECT
        counts.num_unparsed += not row.is_parsed
        counts.num_undecided += row.is_parsed and row.verdict is Verdict.UNGRADED
