"""params.yaml as types: every number that changes a result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from agentic_vlm.params.base import Section
from agentic_vlm.params.data import (
    AllocateParams,
    CurateParams,
    FamilyCounts,
    FileSource,
    ImportedTeacher,
    IngestParams,
    JsonlSource,
    PooledTeacher,
    ProbeParams,
    RegisteredSource,
    SelectSftParams,
    Source,
    SuiteSource,
    SynthesizeParams,
    TeacherPool,
    WorldSource,
)
from agentic_vlm.params.evaluation import EvaluateParams, Mode, ReportParams
from agentic_vlm.params.faults import parse_section, read_yaml
from agentic_vlm.params.parts import (
    AgentParams,
    GradingParams,
    JudgeOptions,
    LiveSearchParams,
    ModelParams,
    OpenAITeacher,
    SandboxParams,
    ScriptedTeacher,
    SearchParams,
    Teacher,
    ToolName,
    VisionParams,
)
from agentic_vlm.params.training import BuildBaseParams, TrainRlParams, TrainSftParams


class Params(Section):
    """The whole file. A stage reads its own section and the shared ones at the top."""

    seed: int = Field(default=0, ge=0)
    """Root of all seeds of a run, except the world's own."""
    model: ModelParams = ModelParams()
    vision: VisionParams = VisionParams()
    agent: AgentParams = AgentParams()
    sandbox: SandboxParams = SandboxParams()
    search: SearchParams = SearchParams()
    grading: GradingParams = GradingParams()
    build_base: BuildBaseParams = BuildBaseParams()
    ingest: IngestParams = IngestParams()
    curate: CurateParams = CurateParams()
    probe: ProbeParams = ProbeParams()
    allocate: AllocateParams = AllocateParams()
    synthesize: SynthesizeParams = SynthesizeParams()
    select_sft: SelectSftParams = SelectSftParams()
    train_sft: TrainSftParams = TrainSftParams()
    train_rl: TrainRlParams = TrainRlParams()
    evaluate: EvaluateParams = EvaluateParams()
    report: ReportParams = ReportParams()

    @model_validator(mode="after")
    def _names_resolve(self) -> Self:
        names = [source.name for source in self.ingest.sources]
        if len(set(names)) < len(names):
            raise ValueError(f"ingest.sources: names must differ, got {', '.join(names)}")
        suites = {source.suite for source in self.ingest.sources} - {None}
        unknown = sorted(set(self.evaluate.suites) - suites)
        if unknown:
            raise ValueError(f"evaluate.suites: no source writes {', '.join(unknown)}")
        return self


SHARED_SECTIONS = ("seed", "model", "vision", "agent", "sandbox", "search", "grading")
"""Keys of params.yaml that belong to no single stage."""


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate params.yaml.

    Raises:
        ParamsError: the file is missing, is no YAML, or has faults; all of them are listed.
    """
    return parse_params(read_yaml(Path(path)), where=Path(path).name)


def parse_params(raw: Mapping[str, object], *, where: str) -> Params:
    """Validate the content of a params file; `where` names it in errors.

    Raises:
        ParamsError: with every fault.
    """
    return parse_section(Params, raw, where=where)


def merge_params(base: Mapping[str, object], overlay: Mapping[str, object]) -> dict[str, object]:
    """Lay an overlay (a recipe) over the content of params.yaml.

    Mappings merge key by key; everything else, lists included, is replaced. A mapping with another
    `type` is replaced too, since its keys belong to another part.

    >>> merge_params({"a": {"x": 1, "y": 2}}, {"a": {"x": 3}})
    {'a': {'x': 3, 'y': 2}}
    """
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and _same_type(old, value):
            merged[key] = merge_params(old, value)
        else:
            merged[key] = value
    return merged


def _same_type(old: Mapping[str, object], new: Mapping[str, object]) -> bool:
    return "type" not in new or old.get("type") == new["type"]


__all__ = [
    "SHARED_SECTIONS",
    "AgentParams",
    "AllocateParams",
    "BuildBaseParams",
    "CurateParams",
    "EvaluateParams",
    "FamilyCounts",
    "FileSource",
    "GradingParams",
    "ImportedTeacher",
    "IngestParams",
    "JsonlSource",
    "JudgeOptions",
    "LiveSearchParams",
    "Mode",
    "ModelParams",
    "OpenAITeacher",
    "Params",
    "PooledTeacher",
    "ProbeParams",
    "RegisteredSource",
    "ReportParams",
    "SandboxParams",
    "ScriptedTeacher",
    "SearchParams",
    "Section",
    "SelectSftParams",
    "Source",
    "SuiteSource",
    "SynthesizeParams",
    "Teacher",
    "TeacherPool",
    "ToolName",
    "TrainRlParams",
    "TrainSftParams",
    "VisionParams",
    "WorldSource",
    "load_params",
    "merge_params",
    "parse_params",
    "read_yaml",
]
