"""What a judge said about one answer."""

from agentic_vlm.schema.record import Record
from agentic_vlm.schema.score import Verdict


class Judgement(Record):
    """One verdict of a judge, with all that it was asked: enough to replay it offline."""

    key: str
    """Digest of judge, parameters, prompt and message: equal keys are the same question."""
    judge: str
    """Name of the model."""
    prompt: str
    """Name of the system prompt, which ends with its version."""
    question: str
    """The question of the sample."""
    references: tuple[str, ...]
    """The reference answer and its aliases."""
    answer: str
    """The answer that was judged."""
    verdict: Verdict
    """What the judge says; `ungraded` where it is undecided or its reply keeps to no form."""
    is_parsed: bool
    """Whether the reply kept to the form."""
    reply: str
    """The whole reply."""
    num_prompt_tokens: int
    """Tokens of the request, as the server counts them; estimated where it does not."""
    num_reply_tokens: int
    """Tokens of the reply, likewise."""
