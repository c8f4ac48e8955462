"""Sections that several stages share: model, image limits, agent loop, swappable parts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agentic_vlm.params.base import Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
ToolName = Literal["python", "search", "image_search", "visit"]


class ModelParams(Section):
    """Which model is trained and in what precision."""

    base: str = "models/base"
    """Folder, or hub id, of the model to start from. Paper: Qwen/Qwen2.5-VL-7B-Instruct."""
    revision: str = ""
    """Commit of a hub model; empty for a folder."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights. Paper: bfloat16; pocket: float32, the only fast one on a CPU."""
    policy: Literal["in_process", "openai", "vllm", "vllm_colocated"] = "in_process"
    """Who samples: this process, or a server whose address is in the environment. `openai`: any
    OpenAI-compatible one in probe and evaluate, while RL samples where it trains; `vllm`: RL too,
    at servers that get the weights of every step (AGENTIC_ROLLOUT_URLS); `vllm_colocated`: vLLM in
    each process that trains, on the same card (AGENTIC_ENGINE_MEMORY), and in probe and evaluate
    unless AGENTIC_POLICY_URL names a server. Paper: vLLM."""
    continues_turns: bool = False
    """Whether that server goes on writing a turn that is begun, as vLLM does; else the policy is
    trusted to begin its turns with `<think>` itself. Ours."""
    keeps_turns: bool = False
    """Whether sampling in this process keeps keys and values between the turns of an episode, at
    most 8 GiB, instead of reading the whole context again. Rounding differs. Off; vLLM: on."""


class VisionParams(Section):
    """Limits of pictures, for the processor and for what tools may hand back."""

    min_pixels: PositiveInt = 12_544
    """The processor enlarges smaller pictures to at least this area, px. Qwen2.5-VL: 3136."""
    max_pixels: PositiveInt = 50_176
    """The processor shrinks larger pictures to at most this area, px (224 x 224: 64 vision tokens).
    Qwen2.5-VL: 12845056; paper training data: up to 16384 vision tokens."""
    min_side_px: PositiveInt = 28
    """Shortest side that is accepted, px: one merged patch (14 px, merge 2)."""
    max_side_px: PositiveInt = 8192
    """Longest side that is accepted, px. Ours: bounds the memory of one picture."""
    max_ratio: Annotated[float, Field(ge=1.0, le=200.0)] = 200.0
    """Largest ratio of the sides. Qwen2-VL's processor refuses more than 200."""

    @model_validator(mode="after")
    def _limits_are_ordered(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} exceeds max_pixels {self.max_pixels}")
        if self.min_side_px > self.max_side_px:
            raise ValueError(f"min_side_px {self.min_side_px} exceeds {self.max_side_px}")
        return self


class AgentParams(Section):
    """The loop of an episode, the same in every phase."""

    protocol: Literal["deepeyesv2", "deepeyesv2_plus"] = "deepeyesv2"
    """Turn grammar. `deepeyesv2_plus` adds `image_search{image, box}` and `visit{url}`."""
    prompt: str = Field(default="pocket", pattern=r"^[a-z0-9_]+$")
    """Which system prompt: `<prompt>_system.md`. Paper: deepeyesv2. In protocol deepeyesv2_plus:
    deepeyesv2, or pocket_plus instead of pocket."""
    observation: Literal["full", "compact"] = "compact"
    """Layout of what tools answer. Paper: full. Deviation: pocket compact, which says the same in
    fewer tokens, since each token costs CPU time."""
    parity: Literal["fixed", "release"] = "fixed"
    """`release` restores the released behaviour where ours differs."""
    tools: tuple[ToolName, ...] = Field(default=("python", "search", "image_search"), min_length=1)
    """What a turn may call. Paper: python, search, image_search."""
    max_turns: PositiveInt = 7
    """Assistant turns of an episode. Paper: 9."""
    max_turn_tokens: PositiveInt = 96
    """Tokens that the policy may write in one turn. Paper: 8192."""
    max_context_tokens: PositiveInt = 1152
    """Tokens of prompt, turns and observations together. Release: 32768."""
    tool_deadline_s: PositiveFloat = 30.0
    """Wall-clock seconds after which a tool call counts as failed infrastructure. Ours."""
    max_concurrent: PositiveInt = 64
    """Episodes that run at the same time."""
    deterministic: bool = True
    """Batches form from episode ids, never from arrival. Off for servers."""
    max_infrastructure_retries: Annotated[int, Field(ge=0)] = 2
    """New tries of an episode that sandbox, search or backend failed. Ours."""

    @model_validator(mode="after")
    def _turn_fits_context(self) -> Self:
        if self.max_turn_tokens >= self.max_context_tokens:
            raise ValueError(
                f"max_turn_tokens {self.max_turn_tokens} must be below max_context_tokens "
                f"{self.max_context_tokens}"
            )
        return self

    @model_validator(mode="after")
    def _visit_is_in_the_protocol(self) -> Self:
        if "visit" in self.tools and self.protocol != "deepeyesv2_plus":
            raise ValueError("agent.tools: visit needs agent.protocol deepeyesv2_plus")
        return self


class SandboxParams(Section):
    """Who runs model-written code, and within which limits."""

    type: Literal["process", "daemon", "jupyter_gateway", "sandbox_fusion", "fake"] = "process"
    """`process`: confined processes on this machine; `daemon`: the same on others, at
    AGENTIC_SANDBOX_URLS; `jupyter_gateway`: kernels behind AGENTIC_JUPYTER_URL; `sandbox_fusion`:
    AGENTIC_FUSION_URL, which sends all earlier cells again; `fake`: answers from a table."""
    cell_cpu_s: PositiveFloat = 5.0
    """CPU seconds of one cell; this ends a cell, so that results do not depend on load. Ours."""
    cell_wall_s: PositiveFloat = 10.0
    """Wall-clock seconds of one cell: the safety net for sleeping code. Release: 10. A cell that
    computes on a busy machine is not ended by it."""
    session_cpu_s: PositiveFloat = 60.0
    """CPU seconds of all cells of an episode. Ours: a dozen cells that use up their share."""
    memory_mb: PositiveInt = 1024
    """Address space of a kernel beyond Python and its pictures, MiB; more is a MemoryError. Ours:
    an image of 12 MP as float64 takes 275."""
    file_mb: PositiveInt = 64
    """Largest file that a cell may write, MiB. Ours: a picture of 16 MP uncompressed."""
    box_mb: PositiveInt = 64
    """Disk of a session, MiB. Ours: it is memory where the box is a tmpfs."""
    max_box_files: PositiveInt = 2000
    """Files and folders of a session. Ours: each costs the kernel about 1 KiB."""
    max_threads: PositiveInt = 32
    """Threads of a session; processes it may not have. Ours: `ThreadPoolExecutor()` has up to
    32."""
    max_open_files: PositiveInt = 64
    """Open files of a session. Ours: imports and plots keep a handful open."""
    max_output_chars: PositiveInt = 1200
    """Characters of standard output that are kept. Release: no limit."""
    max_value_chars: PositiveInt = 600
    """Characters of the last expression that are kept. Ours."""
    max_images_per_cell: PositiveInt = 4
    """Pictures that one cell may hand back. Ours; release: 10."""
    max_images_per_session: PositiveInt = 32
    """Pictures that all cells of an episode may hand back. Ours; release: 50 in a prompt."""
    max_image_pixels: PositiveInt = 16_000_000
    """Largest picture that a cell may hand back, px; larger ones are reduced. Ours: Qwen2.5-VL
    shrinks what exceeds 12.8 million."""
    num_spares: Annotated[int, Field(ge=0)] = 2
    """Kernels kept warm for the next episodes."""
    max_templates: Annotated[int, Field(ge=0)] = 4
    """Prompts whose large pictures are kept once for all their sessions. Ours: 48 MB for 12 MP."""
    max_running_cells: PositiveInt = 32
    """Cells that run at the same time; others wait, and their waiting is no part of their time.
    Ours: bounds memory; CPU time ends cells, so that waiting for a core makes no timeout."""
    preload: tuple[str, ...] = ()
    """Modules that the fork server imports beside numpy, Pillow and matplotlib, such as scipy; a
    session imports others by itself, at its own cost."""


class LiveSearchParams(Section):
    """How a search service on the network is asked. Keys and addresses stand in the environment."""

    max_per_second: PositiveFloat = 5.0
    """Requests per second that are sent at most. Ours; services publish their own limits."""
    max_concurrent: PositiveInt = 16
    """Requests that are on their way at the same time. Ours."""
    deadline_s: PositiveFloat = 25.0
    """Seconds for one search with all its tries; below agent.tool_deadline_s. Ours."""
    max_tries: PositiveInt = 4
    """Tries of one search. Release: 3."""
    backoff_s: PositiveFloat = 0.5
    """Longest pause before the second try; it doubles with each try, and a random part of it is
    waited. Release: 1 to 10 s before every call."""
    max_failures: PositiveInt = 8
    """Outages in a row after which the service is left alone for a while. Ours."""
    cooldown_s: PositiveFloat = 10.0
    """Seconds for which it is left alone. Ours."""
    max_calls: PositiveInt | None = None
    """Requests that one process may send; null for any number."""
    max_usd: PositiveFloat | None = None
    """US dollars that one process may spend; null for any sum."""
    usd_per_call: Annotated[float, Field(ge=0.0)] = 0.001
    """Price of a request that is answered, US dollars."""
    max_answer_mb: PositiveFloat = 4.0
    """Largest answer of a service, page or thumbnail, MB. Ours."""


class SearchParams(Section):
    """Who answers a query."""

    type: Literal["local", "fake", "serper", "serpapi", "brave", "json"] = "local"
    """`local`: the corpus of stage ingest; `fake`: answers from a table; the others are services:
    `json` is any server with a simple JSON form, at the address in AGENTIC_SEARCH_URL.
    Paper: Google results through Serper."""
    pictures: Literal["same", "local", "serper", "serpapi", "json", "recorded"] = "same"
    """Who answers a search by picture; `recorded` knows stored answers only. Paper: recorded, the
    image search cache of MMSearch-R1."""
    recording: Literal["off", "replay", "record_missing"] = "off"
    """`replay` serves stored answers only; `record_missing` asks and stores what is not there."""
    answers: str = Field(default="search_answers", min_length=1)
    """Folder of stored answers, beside the corpus."""
    num_text_hits: PositiveInt = 3
    """Text hits per query. Paper: 5. Deviation: pocket 3, since each token costs CPU time."""
    num_image_hits: PositiveInt = 2
    """Picture hits per query. Paper: 5."""
    max_snippet_chars: PositiveInt = 120
    """Characters of one text hit. Ours: fits the pocket context."""
    max_page_chars: PositiveInt = 400
    """Characters of a page that a visit shows. Ours: fits the pocket context."""
    max_phash_distance: Annotated[int, Field(ge=0, le=64)] = 14
    """Largest Hamming distance of perceptual hashes that counts as the same picture. Ours."""
    dense_model: str = ""
    """Folder of a sentence or CLIP-type model that the local engine also ranks pages by; empty for
    words only. Ours."""
    outage_share: Share = 0.0
    """Share of the searches that fail on purpose, to see what outages do to a run. Ours."""
    live: LiveSearchParams = LiveSearchParams()
    """Limits for services on the network."""


class JudgeOptions(Section):
    """How a judge is asked, and what it may cost in one run of a stage."""

    prompt: str = Field(default="consistency_v1", pattern=r"^[a-z0-9_]+$")
    """File in `grading/prompts`; its name ends with its version."""
    max_tokens: PositiveInt = 2048
    """Tokens of one reply, reasoning included. Release: 8192."""
    timeout_s: PositiveFloat = 120.0
    """Seconds of one try of a request. Ours."""
    num_retries: Annotated[int, Field(ge=0)] = 2
    """New tries of a request that failed. Release: none, one failure ends the training step."""
    max_concurrent: PositiveInt = 16
    """Requests at the same time."""
    max_calls: PositiveInt | None = None
    """Requests of one run; absent: no limit. Known verdicts cost nothing."""
    max_total_tokens: PositiveInt | None = None
    """Tokens of all requests and replies of one run; absent: no limit."""
    max_cost: PositiveFloat | None = None
    """Money of one run, in the currency of the prices; absent: no limit."""
    price_per_million_in: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million tokens of requests."""
    price_per_million_out: Annotated[float, Field(ge=0.0)] = 0.0
    """Price of a million tokens of replies."""


class GradingParams(Section):
    """How an answer is compared with the reference."""

    judge: Literal["none", "openai", "local", "replay"] = "none"
    """Who decides what the rules cannot: nobody, a server, a checkpoint in this process, or only
    verdicts that are known. Paper: Qwen2.5-72B behind an OpenAI-compatible server."""
    judge_model: str = ""
    """Name of the judge at its server, or its folder; empty without a judge."""
    judge_options: JudgeOptions = JudgeOptions()
    """How it is asked."""
    math_timeout_s: PositiveFloat = 1.0
    """CPU seconds for the symbolic part of one verdict; past it the answer is ungraded. Ours."""
    float_tolerance: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    """Relative tolerance of decimal answers. Ours."""

    @model_validator(mode="after")
    def _judge_has_a_name(self) -> Self:
        if (self.judge == "none") != (self.judge_model == ""):
            raise ValueError("judge and judge_model go together: give both, or none and ''")
        return self


class ScriptedTeacher(Section):
    """Acts from the reference solutions of the world, through the real loop and tools."""

    type: Literal["scripted"] = "scripted"
    mistake_rate: Share = 0.15
    """Share of trajectories with a mistake that stays; selection must remove them. Ours."""
    recovery_rate: Share = 0.2
    """Share with a mistake that is noticed and repaired. Ours, from the pocket measurements:
    a policy that has seen only good crops babbles after a bad one."""


class OpenAITeacher(Section):
    """A strong model behind an OpenAI-compatible server."""

    type: Literal["openai"] = "openai"
    model: str = Field(min_length=1)
    """Name at the server. Paper: GPT-4o, Gemini 2.5 Pro, Claude Sonnet 4."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    """Sampling temperature. Ours."""


Teacher = Annotated[ScriptedTeacher | OpenAITeacher, Field(discriminator="type")]
