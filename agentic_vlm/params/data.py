"""Sections of the stages that make training data."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agentic_vlm.params.base import Section
from agentic_vlm.params.parts import (
    OpenAITeacher,
    PositiveFloat,
    PositiveInt,
    ScriptedTeacher,
    Share,
)

Count = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
Family = Literal["perception", "reasoning", "search", "integration", "text"]
FAMILIES: tuple[Family, ...] = ("perception", "reasoning", "search", "integration", "text")


class FamilyCounts(Section):
    """How many samples of each family."""

    perception: Count
    """Questions about plates with small print."""
    reasoning: Count
    """Questions about charts and receipts."""
    search: Count
    """Questions about emblems and their owners."""
    integration: Count
    """Crop, search and compute in one question."""
    text: Count
    """Arithmetic without a picture."""

    @property
    def total(self) -> int:
        """Samples of all families."""
        return self.perception + self.reasoning + self.search + self.integration + self.text


def _counts(*values: int) -> FamilyCounts:
    names = ("perception", "reasoning", "search", "integration", "text")
    return FamilyCounts(**dict(zip(names, values, strict=True)))


class WorldSource(Section):
    """The generated pocket world. All values are ours."""

    type: Literal["world"] = "world"
    name: SourceName = "world"
    """Name of the source, as in RawSample.source."""
    seed: Count = 0
    """Seed of the world; the base model was trained on the world of seed 0."""
    num_train: FamilyCounts = _counts(200, 160, 160, 120, 80)
    """Training samples per family."""
    tool_share: Share = 0.6
    """Share of training samples that are made to need a tool."""
    suite: SourceName = "pocket"
    """Name of the held-out suite that the world writes."""
    num_eval_tool: FamilyCounts = _counts(84, 84, 84, 84, 84)
    """Held-out questions per family that need a tool."""
    num_eval_direct: FamilyCounts = _counts(84, 84, 84, 84, 84)
    """Held-out questions per family that need none."""
    num_entities: Annotated[int, Field(ge=40)] = 1500
    """Fictional entities with an emblem; those of the suite appear in no training sample."""
    num_articles: Annotated[int, Field(ge=1)] = 4000
    """Articles of the encyclopedia, entities included."""


class JsonlSource(Section):
    """A JSON Lines file with pictures beside it."""

    type: Literal["jsonl"] = "jsonl"
    name: SourceName
    """Name of the source, as in RawSample.source."""
    path: str = Field(min_length=1)
    """The file, relative to the root of the project."""
    images: str | None = None
    """Folder of the pictures; absent for text-only sources."""
    suite: SourceName | None = None
    """Name of the held-out suite that the rows belong to; absent for training rows."""
    family: Family = "reasoning"
    """Family of rows that do not name their own."""


class FileSource(Section):
    """A file or folder in a published format; docs/data.md describes each."""

    type: Literal[
        "csv",
        "datasets",
        "gsm8k",
        "json_lines",
        "llama_factory",
        "math_vision",
        "parquet",
        "squad",
        "verl",
        "vlmevalkit",
    ]
    name: SourceName
    """Name of the source, as in RawSample.source."""
    path: str = Field(min_length=1)
    """The file or folder, relative to the root of the project."""
    images: str | None = None
    """Folder that picture paths are relative to; null: the folder of the file."""
    suite: SourceName | None = None
    """Name of the held-out suite that the rows belong to; null for training rows."""
    family: Family = "reasoning"
    """Family of rows that do not name their own."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Column by field (question, answer, options, image, id, aliases, family, answer_type), where
    the file uses other names; for csv, datasets, json_lines, parquet and vlmevalkit."""
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the rows that is taken, chosen by a digest of the row's id."""


class SuiteSource(Section):
    """A benchmark's file or folder as published, held out; with its own prompt and rule."""

    type: Literal["suite"] = "suite"
    name: SourceName
    """Name of the source, as in RawSample.source."""
    suite: SourceName
    """Which benchmark: a name that `python -m agentic_vlm.evaluation.suites` lists."""
    path: str = Field(min_length=1)
    """The file or folder, relative to the root of the project."""
    limit: PositiveInt | None = None
    """Items taken from its beginning; null for all. A part is reported as partial."""


class RegisteredSource(Section):
    """A source that data/sources.yaml describes."""

    type: Literal["registered"] = "registered"
    name: SourceName
    """Name of the entry, and of the source."""
    suite: SourceName | None = None
    """Name of the held-out suite that the rows belong to; must be what the entry says."""


Source = Annotated[
    WorldSource | JsonlSource | FileSource | SuiteSource | RegisteredSource,
    Field(discriminator="type"),
]


class IngestParams(Section):
    """Stage ingest: which sources are read."""

    sources: tuple[Source, ...] = Field(default=(WorldSource(),), min_length=1)
    """Sources in order; names must differ. Paper: about 20 public data sets."""


class CurateParams(Section):
    """Stage curate: what a usable sample is."""

    max_image_pixels: PositiveInt = 16_000_000
    """Largest picture that is kept, px. Ours."""
    min_side_px: Annotated[int, Field(ge=28)] = 28
    """Shortest side that is kept, px. Qwen2.5-VL: one merged patch is 28 px."""
    max_ratio: Annotated[float, Field(ge=1.0, le=200.0)] = 200.0
    """Largest ratio of the sides that is kept. Qwen2-VL's processor refuses more than 200."""
    near_duplicate_threshold: Share = 0.8
    """Jaccard similarity of shingles from which two questions are near-equal. Ours."""
    phash_distance: Annotated[int, Field(ge=0, le=64)] = 4
    """Hamming distance of perceptual hashes up to which two pictures are the same. Ours."""
    ngram: PositiveInt = 13
    """Words that must agree for a text match with a suite. GPT-3, arXiv 2005.14165, section C."""
    opens_choices: bool = False
    """Rewrite multiple choice to open questions where the question stands alone. Paper: yes; the
    pocket world has no options."""


class ProbeParams(Section):
    """Stage probe: attempts of the base policy."""

    num_attempts: PositiveInt = 8
    """Attempts per sample and mode. Paper, section 3.2: 8."""
    temperature: Temperature = 1.0
    """Sampling temperature. Ours: as in RL."""
    stop_early: bool = True
    """Stop a sample's attempts once every rule in `decide` is settled. Paper: no."""
    decide: tuple[Literal["difficulty", "tool_benefit"], ...] = ("difficulty", "tool_benefit")
    """Rules of `allocate` that the attempts must settle."""


class AllocateParams(Section):
    """Stage allocate: which sample goes to which pool."""

    max_direct_successes: Count = 2
    """Keep samples with at most this many right direct attempts. Paper, section 3.2: 2 of 8."""
    min_tool_successes: PositiveInt = 1
    """From this many right attempts with tools on, a sample goes to the RL pool; else to the cold
    start. Paper, section 3.2: 1 of 8."""
    easy_share: Share = 0.25
    """Share of the RL pool that is refilled with easier samples, so that RL can learn when not to
    call. Deviation: paper 0."""
    sft_easy_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """Share of the cold-start pool that is refilled with easier samples, so that the cold start
    does not forget how to answer at once. Deviation: paper 0; it mixes in tool-free text."""
    rl_unsolved_share: Share = 0.0
    """Share of the samples solved neither way that go to RL, not to the cold start. Paper: 0. The
    pocket has 0.35: its base solves nothing that needs search, so RL would never see it."""
    max_sft_samples: PositiveInt | None = None
    """Cap of the cold-start pool; null for none."""
    max_rl_samples: PositiveInt | None = None
    """Cap of the RL pool; null for none."""


class PooledTeacher(Section):
    """One of several strong models; address and key stand in the environment."""

    model: str = Field(min_length=1)
    """Name at its server. Paper: GPT-4o, Gemini 2.5 Pro, Claude Sonnet 4."""
    url_env: EnvName = "AGENTIC_TEACHER_URL"
    """Variable that holds the address of the server."""
    key_env: EnvName = "AGENTIC_TEACHER_KEY"
    """Variable that holds its key; unset for servers that want none."""
    weight: PositiveFloat = 1.0
    """Its share of the attempts, relative to the others."""
    temperatures: tuple[Temperature, ...] = Field(default=(1.0,), min_length=1)
    """Sampling temperature of the first attempt at a sample, of the second, and so on; begins
    again at its end. Ours."""
    usd_per_million_input: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million tokens that are sent, US dollars."""
    usd_per_million_output: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million tokens that are written, US dollars."""


class TeacherPool(Section):
    """Several models behind OpenAI-compatible servers, each with its share of the attempts.

    Budgets stand in the environment (AGENTIC_TEACHER_MAX_USD, AGENTIC_TEACHER_MAX_TOKENS): raising
    one must not throw away what was paid for.
    """

    type: Literal["pool"] = "pool"
    members: tuple[PooledTeacher, ...] = Field(min_length=1)
    """The teachers; names must differ."""
    requests_per_minute: PositiveFloat = 60.0
    """Most requests that are begun per minute and teacher. Ours."""
    patience_s: PositiveFloat = 1800.0
    """Seconds for which a server that is down is waited for. Ours."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [member.model for member in self.members]
        if len(set(names)) < len(names):
            raise ValueError(f"members: names must differ, got {', '.join(names)}")
        return self


class ImportedTeacher(Section):
    """Finished trajectories in LLaMA-Factory's form, such as DeepEyesV2-SFT."""

    type: Literal["import"] = "import"
    name: SourceName
    """Name of the set; the trajectories carry it as their policy."""
    path: str = Field(min_length=1)
    """The JSON file, relative to the root of the project; the source of the samples too."""
    images: str | None = None
    """Folder that picture paths are relative to; null: the folder of the file."""


class SynthesizeParams(Section):
    """Stage synthesize: teacher trajectories."""

    teacher: Annotated[
        ScriptedTeacher | OpenAITeacher | TeacherPool | ImportedTeacher,
        Field(discriminator="type"),
    ] = ScriptedTeacher()
    """Who acts."""
    num_attempts: PositiveInt = 2
    """Trajectories per sample. Ours."""


class SelectSftParams(Section):
    """Stage select_sft: which trajectories are taught."""

    max_tokens: PositiveInt = 1152
    """Longest trajectory, in tokens of the policy's context. Release: 32768."""
    max_images: PositiveInt = 10
    """Most pictures in one trajectory, the question's included. Release: 10."""
    tool_free_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """Share of the mixture that answers without a tool. Paper: long chain-of-thought data."""
    max_tool_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Largest share of the mixture that calls a tool; 1 keeps all. For ablations of the density of
    tools in the cold start, which reviewers of the paper asked for. Ours."""
    families: tuple[Family, ...] = Field(default=FAMILIES, min_length=1)
    """Families that are taught; fewer for ablations. Paper: perception, reasoning, both."""
    tool_density: PositiveFloat = 1.0
    """Largest number of calls over the number of steps of the reference solution, where that is
    known; 1 keeps trajectories without superfluous calls, recoveries excepted. Ours."""
    min_agreement: Share = 0.0
    """Share of a sample's graded attempts that must be right; 0 takes a sample whatever its other
    attempts answer (self-consistency off). Ours."""
