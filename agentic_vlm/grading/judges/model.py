"""ModelJudge: asks a model, once per question, within a budget."""

import asyncio
from collections.abc import Callable

from agentic_vlm.errors import JudgeUnavailable
from agentic_vlm.grading.judges.askers import Asker, Reply
from agentic_vlm.grading.judges.budget import JudgeBudget, JudgeCounts, Ledger
from agentic_vlm.grading.judges.cache import VerdictCache
from agentic_vlm.grading.judges.prompt import JudgePrompt, parse_reply, render_question
from agentic_vlm.schema import Judgement, Verdict, content_id


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
        key = content_id(self._name, str(self._max_tokens), self._prompt.digest, message)
        known = self._cache.get(key)
        if known is not None:
            self.counts.num_cached += 1
            return known.verdict
        if key in self._pending:
            self.counts.num_cached += 1
            return (await asyncio.shield(self._pending[key])).verdict

        def to_row(reply: Reply) -> Judgement:
            return self._to_row(key, reply, question, answer, references)

        task = asyncio.ensure_future(self._ask(message, to_row))
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

    async def _ask(self, message: str, to_row: Callable[[Reply], Judgement]) -> Judgement:
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
                    self._prompt.text, message, max_tokens=self._max_tokens
                )
            except JudgeUnavailable:
                self.counts.num_unavailable += 1
                raise
        self._ledger.book_tokens(prompt=reply.num_prompt_tokens, reply=reply.num_reply_tokens)
        row = to_row(reply)
        self._count(row)
        self._cache.add(row)
        return row

    def _to_row(
        self, key: str, reply: Reply, question: str, answer: str, references: tuple[str, ...]
    ) -> Judgement:
        verdict = parse_reply(reply.text, is_cut=reply.is_cut)

        def clean(text: str) -> str:
            return text.encode("utf-8", "replace").decode()

        return Judgement(
            key=key,
            judge=self._name,
            prompt=self._prompt.name,
            question=clean(question),
            references=tuple(map(clean, references)),
            answer=clean(answer),
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
