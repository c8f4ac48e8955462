"""What a judge may cost, and what it did."""

from dataclasses import dataclass, field

from agentic_vlm.errors import JudgeBudgetSpent


@dataclass(frozen=True, slots=True)
class JudgeBudget:
    """Limits of one run; absent limits do not bind. Cached verdicts cost nothing."""

    max_calls: int | None = None
    max_tokens: int | None = None
    """Tokens of requests and replies together."""
    max_cost: float | None = None
    """In the currency of the prices."""
    price_per_million_in: float = 0.0
    """Price of a million tokens of requests."""
    price_per_million_out: float = 0.0
    """Price of a million tokens of replies."""


@dataclass(slots=True)
class JudgeCounts:
    """What was asked and what came of it."""

    num_cached: int = 0
    """Verdicts that were known."""
    num_calls: int = 0
    """Requests that were made."""
    num_correct: int = 0
    num_incorrect: int = 0
    num_undecided: int = 0
    """The judge says that it cannot tell."""
    num_unparsed: int = 0
    """Replies that keep to no form; they decide nothing."""
    num_unavailable: int = 0
    """Requests that failed."""
    num_not_asked: int = 0
    """Questions that the budget did not allow."""
    num_overruled: int = 0
    """Answers that the rule calls incorrect and the judge correct: their disagreement."""
    num_prompt_tokens: int = 0
    num_reply_tokens: int = 0


@dataclass(slots=True)
class Ledger:
    """Keeps to the budget; a request is booked before it is made."""

    budget: JudgeBudget = field(default_factory=JudgeBudget)
    counts: JudgeCounts = field(default_factory=JudgeCounts)

    @property
    def cost(self) -> float:
        """What the tokens so far have cost."""
        counts, budget = self.counts, self.budget
        spent = counts.num_prompt_tokens * budget.price_per_million_in
        return (spent + counts.num_reply_tokens * budget.price_per_million_out) / 1e6

    def book_call(self) -> None:
        """Count a request.

        Raises:
            JudgeBudgetSpent: a limit is reached.
        """
        counts, budget = self.counts, self.budget
        num_tokens = counts.num_prompt_tokens + counts.num_reply_tokens
        spent: list[tuple[float, float | None, str]] = [
            (counts.num_calls, budget.max_calls, "calls"),
            (num_tokens, budget.max_tokens, "tokens"),
            (self.cost, budget.max_cost, "cost"),
        ]
        for used, limit, name in spent:
            if limit is not None and used >= limit:
                counts.num_not_asked += 1
                raise JudgeBudgetSpent(
                    "grading, judge",
                    f"the budget is spent: {name} {used:g} of {limit:g}",
                    "raise grading.judge_options, or go on without; known verdicts are kept",
                )
        counts.num_calls += 1

    def book_tokens(self, *, prompt: int, reply: int) -> None:
        """Add the tokens of a request that was answered."""
        self.counts.num_prompt_tokens += prompt
        self.counts.num_reply_tokens += reply
