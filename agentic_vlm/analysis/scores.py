"""metrics/summary.json as types: the part that tables and figures read."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from agentic_vlm.errors import RecordError

KINDS = ("tool", "direct", "all")
"""Kinds of questions, in the order in which they are shown."""

REALX_PARTS = ("average", "perception", "reason", "search", "integration")
"""Columns of the RealX-Bench table, in order."""

TITLES = {
    "base_direct": "base, no tools",
    "base": "base, tools",
    "sft": "SFT",
    "rl": "RL",
}
"""What the known models are called, in the order in which they are shown."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Share(_Part):
    """An accuracy; all figures from 0 to 1."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    num_ungraded: int
    num_infrastructure: int
    lowest: float | None
    highest: float | None


class Entry(_Part):
    """One model on one kind of question."""

    accuracy: Share
    tool_rate: float | None
    calls: float | None
    failed_calls: float | None
    tokens: float | None


class ModelScores(_Part):
    """One model; kinds and families that no sample has are absent."""

    tool: Entry | None = None
    direct: Entry | None = None
    all: Entry | None = None
    by_family: Mapping[str, Mapping[str, Entry]]
    by_suite: Mapping[str, Mapping[str, Entry]]
    realx: Mapping[str, Share] = {}

    def kind(self, name: str) -> Entry | None:
        """Return the entry of a kind of questions."""
        return {"tool": self.tool, "direct": self.direct, "all": self.all}[name]


class Gain(_Part):
    """One model minus another on the samples that both answered."""

    mean: float
    low: float
    high: float
    n: int
    num_gained: int
    num_lost: int
    p: float


class Summary(_Part):
    """The whole file."""

    models: Mapping[str, ModelScores]
    paired: Mapping[str, Mapping[str, Gain]]

    def names(self) -> list[str]:
        """Return the models in the order in which they are shown."""
        known = [name for name in TITLES if name in self.models]
        return known + sorted(set(self.models) - set(TITLES))


def parse_summary(content: object) -> Summary:
    """Return the summary of a parsed metrics/summary.json.

    Raises:
        RecordError: it has another form.
    """
    try:
        return Summary.model_validate(content)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        where = f"metrics/summary.json, {'.'.join(str(key) for key in first['loc'])}"
        raise RecordError(where, first["msg"], "run `python -m stages.report`") from fault


def title_of(model: str) -> str:
    """Return what a model is called in tables.

    >>> title_of("sft"), title_of("qwen_direct"), title_of("qwen_think"), title_of("qwen")
    ('SFT', 'qwen, no tools', 'qwen, thinking, no tools', 'qwen')
    """
    plain, _, mode = model.rpartition("_")
    told = {"direct": "no tools", "think": "thinking, no tools"}
    return TITLES.get(model, f"{plain}, {told[mode]}" if mode in told else model)


def percent(share: float | None) -> str:
    """Return a share in percent.

    >>> percent(0.5), percent(None)
    ('50.0 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def interval(share: Share) -> str:
    """Return mean and interval in percent: `50.0 (31.0-69.0)`."""
    if share.mean is None or share.low is None or share.high is None:
        return "-"
    return f"{100 * share.mean:.1f} ({100 * share.low:.1f}-{100 * share.high:.1f})"
