"""What the paper found and what its reviewers asked, each as a difference that runs can decide.

A claim subtracts one model from another on the same questions (paired), or one family of questions
from the rest within one model (not paired). Sections and figures are those of DeepEyesV2,
arXiv 2511.05271; reviewers are those of its open review.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from agentic_vlm.schema import Need


class Measure(StrEnum):
    """What is compared, per answer."""

    ACCURACY = "accuracy"
    TOOL_RATE = "tool rate"
    CALLS = "calls"
    FAILED_CALLS = "failed calls"
    HOLLOW_CALLS = "hollow calls"
    """Calls of code that does nothing, or only shows a picture again."""
    TOKENS = "tokens"
    CROP_SHARE = "crop share"
    """Share of the answer's calls that crop; answers without a call have none. Likewise below."""
    COMPUTE_SHARE = "compute share"
    SEARCH_SHARE = "search share"

    @property
    def is_share(self) -> bool:
        """Whether a value is a share, told in points."""
        counts = (Measure.CALLS, Measure.FAILED_CALLS, Measure.HOLLOW_CALLS, Measure.TOKENS)
        return self not in counts


class Arm(NamedTuple):
    """One model of one experiment, on some questions."""

    variant: str
    """Variant of the grid."""
    column: str
    """Model as named in the summary: base_direct, base, sft or rl."""
    families: tuple[str, ...] = ()
    """Families of questions; empty for all."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A difference, first minus second, that is expected on one side of a bound."""

    key: str
    """Short name."""
    text: str
    """The claim as a sentence."""
    measure: Measure
    """What is compared."""
    need: Need | None
    """Kind of questions; absent for all."""
    first: Arm
    """Minuend."""
    second: Arm
    """Subtrahend."""
    is_rise: bool = True
    """Whether the difference is expected above the bound, or else below."""
    bound: float = 0.0
    """The bound; -0.03 with a rise means: not worse by 3 points."""
    source: str = ""
    """Who says so, or who asked."""

    @property
    def is_paired(self) -> bool:
        """Whether both arms answer the same questions."""
        return self.first.families == self.second.families


_BASE_DIRECT, _BASE = Arm("grpo", "base_direct"), Arm("grpo", "base")
_SFT, _RL = Arm("grpo", "sft"), Arm("grpo", "rl")
_TOOL, _DIRECT = Need.TOOL, Need.DIRECT
_ACCURACY, _RATE, _CALLS = Measure.ACCURACY, Measure.TOOL_RATE, Measure.CALLS
_PERCEPTION, _REASONING = ("perception",), ("reasoning", "text")
_SEARCH = ("search", "integration")
_DOWN = False


def _rl(variant: str, families: tuple[str, ...] = ()) -> Arm:
    return Arm(variant, "rl", families)


def _sft(variant: str, families: tuple[str, ...] = ()) -> Arm:
    return Arm(variant, "sft", families)


CLAIMS = (
    # How tool use arises.
    Claim("F1", "The cold start teaches tool use: it raises accuracy on tool questions.",
          _ACCURACY, _TOOL, _SFT, _BASE, source="ablation of SFT data"),
    Claim("F2", "The cold start over-uses tools: it calls on more direct questions than the base.",
          _RATE, _DIRECT, _SFT, _BASE, source="tool-use analysis"),
    Claim("F3", "RL improves on the cold start on tool questions.",
          _ACCURACY, _TOOL, _RL, _SFT, source="ablation of RL data"),
    Claim("F4", "RL beats rejection sampling from the cold start, in equal time, tool questions.",
          _ACCURACY, _TOOL, _RL, _rl("rejection"), source="reviewer 3"),
    Claim("F5", "RL makes tool use selective: it calls on fewer direct questions than before.",
          _RATE, _DIRECT, _RL, _SFT, _DOWN, source="tool-use analysis"),
    Claim("F6", "Direct questions do not get worse by 3 points from the base, no tools, to RL.",
          _ACCURACY, _DIRECT, _RL, _BASE_DIRECT, bound=-0.03, source="reviewer 4"),
    Claim("F7", "With the efficiency reward, RL calls less on direct questions than without.",
          _CALLS, _DIRECT, _rl("efficiency"), _RL, _DOWN, source="reviewer 2"),
    Claim("F8", "The efficiency reward costs less than 3 points on tool questions.",
          _ACCURACY, _TOOL, _rl("efficiency"), _RL, bound=-0.03, source="reviewer 2"),
    # The pilots: RL without a cold start.
    Claim("F9", "RL without a cold start ends below RL after one, on tool questions.",
          _ACCURACY, _TOOL, _RL, _rl("no_cold_start"), source="figure 4"),
    Claim("F10", "RL without a cold start gives up tools: it calls less than the base did.",
          _CALLS, _TOOL, _rl("no_cold_start"), _BASE, _DOWN, source="figure 4"),
    Claim("F11", "A bonus for calls, without a cold start, keeps calls alive.",
          _CALLS, _TOOL, _rl("tool_bonus"), _rl("no_cold_start"), source="section 3.2"),
    Claim("F12", "That bonus breeds hollow calls: placeholders, pictures shown again.",
          Measure.HOLLOW_CALLS, None, _rl("tool_bonus"), _RL, source="section 3.2"),
    Claim("F13", "That bonus does not make up for the cold start, on tool questions.",
          _ACCURACY, _TOOL, _RL, _rl("tool_bonus"), source="section 3.2"),
    # What the density of tools in the cold start does.
    Claim("F14", "After the cold start, calls on direct questions follow the density of its data.",
          _RATE, _DIRECT, _sft("tool_share_100"), _sft("tool_share_40"), source="reviewer 2"),
    Claim("F15", "After RL they no longer do: the difference is below 5 points.",
          _RATE, _DIRECT, _rl("tool_share_100"), _rl("tool_share_40"), _DOWN, 0.05,
          source="reviewer 2"),
    Claim("F16", "Fewer calls in the cold start cost accuracy on tool questions after RL.",
          _ACCURACY, _TOOL, _RL, _rl("tool_share_40"), source="reviewer 2"),
    # Data of the cold start.
    Claim("F17", "A cold start on perception alone does not teach what the whole teaches about"
          " reasoning.",
          _ACCURACY, _TOOL, _sft("grpo", _REASONING), _sft("sft_perception", _REASONING),
          source="ablation of SFT data"),
    Claim("F18", "A cold start on reasoning alone does not teach what the whole teaches about"
          " perception.",
          _ACCURACY, _TOOL, _sft("grpo", _PERCEPTION), _sft("sft_reasoning", _PERCEPTION),
          source="ablation of SFT data"),
    Claim("F19", "Long chain-of-thought without tools, added to reasoning, helps reasoning.",
          _ACCURACY, None, _sft("sft_reasoning_cot", _REASONING),
          _sft("sft_reasoning", _REASONING), source="ablation of SFT data"),
    Claim("F20", "Search must be taught: without it in the cold start it is worse.",
          _ACCURACY, _TOOL, _sft("grpo", _SEARCH), _sft("sft_no_search", _SEARCH),
          source="ablation of SFT data"),
    # Data of RL.
    Claim("F21", "RL on perception alone improves perception.",
          _ACCURACY, _TOOL, _rl("rl_perception", _PERCEPTION), _sft("grpo", _PERCEPTION),
          source="ablation of RL data"),
    Claim("F22", "RL on perception alone is worse than RL on all at reasoning.",
          _ACCURACY, _TOOL, _rl("rl_perception", _REASONING), _rl("grpo", _REASONING), _DOWN,
          source="ablation of RL data"),
    Claim("F23", "RL on reasoning alone is worse than RL on all at perception.",
          _ACCURACY, _TOOL, _rl("rl_reasoning", _PERCEPTION), _rl("grpo", _PERCEPTION), _DOWN,
          source="ablation of RL data"),
    Claim("F24", "Search needs search data in RL.",
          _ACCURACY, _TOOL, _rl("grpo", _SEARCH), _rl("rl_no_search", _SEARCH),
          source="ablation of RL data"),
    # Use of tools by task.
    Claim("F25", "After RL, crops are for perception: their share of calls is above the others'.",
          Measure.CROP_SHARE, _TOOL, _rl("grpo", _PERCEPTION), _rl("grpo", _REASONING + _SEARCH),
          source="tool-use analysis"),
    Claim("F26", "After RL, computing is for reasoning.",
          Measure.COMPUTE_SHARE, _TOOL, _rl("grpo", _REASONING),
          _rl("grpo", _PERCEPTION + _SEARCH), source="tool-use analysis"),
    Claim("F27", "After RL, searching is for knowledge.",
          Measure.SEARCH_SHARE, _TOOL, _rl("grpo", _SEARCH),
          _rl("grpo", _PERCEPTION + _REASONING), source="tool-use analysis"),
    Claim("F28", "RL shifts reasoning towards computing.",
          Measure.COMPUTE_SHARE, _TOOL, _rl("grpo", _REASONING), _sft("grpo", _REASONING),
          source="tool-use analysis"),
    Claim("F29", "RL shifts knowledge towards searching.",
          Measure.SEARCH_SHARE, _TOOL, _rl("grpo", _SEARCH), _sft("grpo", _SEARCH),
          source="tool-use analysis"),
    # What it costs.
    Claim("F30", "RL needs fewer calls than the cold start on tool questions.",
          _CALLS, _TOOL, _RL, _SFT, _DOWN, source="figure 8"),
    Claim("F31", "RL writes fewer tokens than the cold start.",
          Measure.TOKENS, None, _RL, _SFT, _DOWN, source="figure 8"),
    Claim("F32", "RL makes fewer failing calls than the cold start.",
          Measure.FAILED_CALLS, None, _RL, _SFT, _DOWN, source="reviewer 3"),
    # Controls.
    Claim("F33", "Tools solve tool questions: RL does better with them than without.",
          _ACCURACY, _TOOL, _RL, Arm("tool_free", "rl_direct"), source="arXiv 2606.02357"),
    Claim("F34", "Tools do no harm: having them costs RL less than 3 points on direct questions.",
          _ACCURACY, _DIRECT, _RL, Arm("tool_free", "rl_direct"), bound=-0.03,
          source="arXiv 2602.01334"),
    Claim("F35", "Answers rest on what crops show: with blank crops perception gets worse.",
          _ACCURACY, _TOOL, _rl("blank_crop", _PERCEPTION), _rl("grpo", _PERCEPTION), _DOWN,
          source="reviewer 2"),
    Claim("F36", "Noise among the hits costs less than 3 points on questions of search.",
          _ACCURACY, _TOOL, _rl("noisy_search", _SEARCH), _rl("grpo", _SEARCH), bound=-0.03,
          source="reviewer 4"),
    Claim("F37", "Novel tools: search tools under new names fail less than 0.1 calls more often.",
          Measure.FAILED_CALLS, _TOOL, _rl("renamed_tools", _SEARCH), _rl("grpo", _SEARCH),
          _DOWN, 0.1, source="reviewer 3"),
    Claim("F38", "RL beats rejection sampling from the policy of each step, in equal time.",
          _ACCURACY, _TOOL, _RL, _rl("online_rejection"), source="reviewer 3"),
    # The paper's cold start has calls in nearly all of its trajectories, the pocket's in three of
    # four: F2 and F5 once more where all have.
    Claim("F39", "A cold start without tool-free data over-uses tools: calls on direct questions.",
          _RATE, _DIRECT, _sft("tool_share_100"), _BASE, source="tool-use analysis"),
    Claim("F40", "RL after it makes tool use selective: it calls on fewer direct questions.",
          _RATE, _DIRECT, _rl("tool_share_100"), _sft("tool_share_100"), _DOWN,
          source="tool-use analysis"),
    # F3 and F4 look at greedy answers. RL trains what the policy samples, and imitation keeps the
    # noise of the policy that it imitates: both once more for sampled answers.
    Claim("F41", "Sampled at the temperature of training, RL improves on the cold start.",
          _ACCURACY, _TOOL, _rl("sampled"), _sft("sampled"), source="ablation of RL data"),
    Claim("F42", "Sampled so, RL beats rejection sampling from the cold start, in equal time.",
          _ACCURACY, _TOOL, _rl("sampled"), _rl("rejection_sampled"), source="reviewer 3"),
)  # fmt: skip
"""The claims, in the order of the page."""
