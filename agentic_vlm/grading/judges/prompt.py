"""What a judge is asked, and how its reply is read."""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from agentic_vlm.errors import ParamsError
from agentic_vlm.schema import Verdict, content_id

_VERDICT = re.compile(r"\**\s*VERDICT\s*:\s*\**\s*(CORRECT|INCORRECT|UNDECIDED)\s*\**\s*\.?")
_VERDICTS = {
    "CORRECT": Verdict.CORRECT,
    "INCORRECT": Verdict.INCORRECT,
    "UNDECIDED": Verdict.UNGRADED,
}


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A system prompt; its name ends with its version, its digest changes with every letter."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """The content id of the text."""
        return content_id(self.text)


@cache
def load_prompt(name: str, *, folder: str = "prompts") -> JudgePrompt:
    """Return a prompt file.

    Args:
        name: of the file, without its ending.
        folder: below `grading`. `prompts` holds those that end with a line `VERDICT: ...`, which
            params may name; `prompts/benchmarks` those of a benchmark, with a form of their own.

    Raises:
        ParamsError: there is no such file.
    """
    files = resources.files("agentic_vlm.grading").joinpath(*folder.split("/"))
    names = sorted(
        path.name.removesuffix(".md") for path in files.iterdir() if path.name.endswith(".md")
    )
    if name not in names:
        fix = f"use one of: {', '.join(names)}"
        raise ParamsError("params.yaml, grading.judge_options.prompt", f"no prompt {name!r}", fix)
    return JudgePrompt(name, files.joinpath(f"{name}.md").read_text(encoding="utf-8").strip())


def render_question(question: str, *, answer: str, references: tuple[str, ...]) -> str:
    """Return the message to the judge: JSON texts, so that an answer cannot pose as instructions.

    >>> print(render_question("How many?", answer="6", references=("six",)))
    Question: "How many?"
    References: ["six"]
    Answer: "6"
    """
    return (
        "\n".join(
            [
                f"Question: {json.dumps(question, ensure_ascii=False)}",
                f"References: {json.dumps(list(references), ensure_ascii=False)}",
                f"Answer: {json.dumps(answer, ensure_ascii=False)}",
            ]
        )
        .encode("utf-8", "replace")
        .decode()
    )


def parse_reply(text: str, *, is_cut: bool) -> Verdict | None:
    r"""Return the verdict of a reply; None where the reply does not keep to the form.

    The last line must be the verdict and nothing else, no other line may say another one, and a
    reply that was cut off says nothing: a word in the middle of the reasoning is no verdict.

    >>> parse_reply("They agree.\nVERDICT: CORRECT", is_cut=False)
    <Verdict.CORRECT: 'correct'>
    >>> parse_reply("No. The model said yes", is_cut=False) is None
    True
    """
    reply = text.rpartition("</think>")[2]
    if is_cut or "<think>" in reply:
        return None
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if not lines:
        return None
    last = _VERDICT.fullmatch(lines[-1])
    found = {match[1] for line in lines if (match := _VERDICT.fullmatch(line))}
    return _VERDICTS[last[1]] if last and len(found) == 1 else None


def parse_reply_as_released(text: str) -> bool:
    r"""Return what the released evaluation makes of a reply, for comparison only.

    Source: DeepEyesV2 0373e6e: what follows the last `boxed`, else everything; right where it
    holds `yes` in any case.

    >>> parse_reply_as_released("No. The model said yes")
    True
    """
    return "yes" in text.rpartition("boxed")[2].partition("}")[0].lower()
