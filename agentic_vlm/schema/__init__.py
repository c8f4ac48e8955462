"""The nouns, in flow order: the only place where a record's fields are defined."""

from agentic_vlm.schema.checkpoint import CheckpointCard
from agentic_vlm.schema.image import ImageRef
from agentic_vlm.schema.judgement import Judgement
from agentic_vlm.schema.message import ImagePart, Message, Role, TextPart
from agentic_vlm.schema.record import SCHEMA_VERSION, Record, content_id
from agentic_vlm.schema.rejection import Rejection, RejectReason
from agentic_vlm.schema.rollout import Rollout
from agentic_vlm.schema.sample import (
    AnswerType,
    CuratedSample,
    Need,
    Probe,
    ProbeMode,
    RawSample,
    SolutionStep,
    StepKind,
)
from agentic_vlm.schema.score import ScoredAnswer, Verdict
from agentic_vlm.schema.trajectory import (
    Action,
    FinalAnswer,
    Observation,
    ObservationStatus,
    ParseFailure,
    StopReason,
    ToolCall,
    Trajectory,
    Turn,
)

__all__ = [
    "SCHEMA_VERSION",
    "Action",
    "AnswerType",
    "CheckpointCard",
    "CuratedSample",
    "FinalAnswer",
    "ImagePart",
    "ImageRef",
    "Judgement",
    "Message",
    "Need",
    "Observation",
    "ObservationStatus",
    "ParseFailure",
    "Probe",
    "ProbeMode",
    "RawSample",
    "Record",
    "RejectReason",
    "Rejection",
    "Role",
    "Rollout",
    "ScoredAnswer",
    "SolutionStep",
    "StepKind",
    "StopReason",
    "TextPart",
    "ToolCall",
    "Trajectory",
    "Turn",
    "Verdict",
    "content_id",
]
