"""Every exception that this project raises on purpose.

Each one names the place, the fault and the fix, keeps these parts as attributes, survives
pickling (all parts go to `super().__init__`) and says by `retryable` whether trying again can help.

>>> print(RecordError("data/raw/part-0001.parquet, row 3, field 'answer'", "field required",
...                   "the row is no RawSample; rerun the stage that wrote data/raw"))
data/raw/part-0001.parquet, row 3, field 'answer': field required
  fix: the row is no RawSample; rerun the stage that wrote data/raw
"""

from typing import ClassVar


class AgenticError(Exception):
    """Base of all errors raised on purpose: two lines, `where: what` and `fix: ...`."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without a change by the user."""

    def __init__(self, where: str, what: str, fix: str) -> None:
        super().__init__(where, what, fix)
        self.where = where
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  fix: {self.fix}"


class ParamsError(AgenticError, ValueError):
    """params.yaml, a recipe or an override is wrong. `what` lists every fault."""


class RecordError(AgenticError, ValueError):
    """A row of a file is no valid record."""


class ImageError(AgenticError, ValueError):
    """A picture is missing, broken or outside the limits."""


class ArtifactMissing(AgenticError, FileNotFoundError):
    """A file or folder that a stage reads does not exist."""


class QueryError(AgenticError, ValueError):
    """A question to the index cannot be answered: the SQL, a value or the file is wrong."""


class BooksError(AgenticError):
    """A stage lost or invented rows: in != out + rejections."""


class ExactnessError(AgenticError):
    """Tokens and pixels of an episode disagree; `where` names episode, turn and image."""


class InfrastructureError(AgenticError):
    """Something of ours failed, never the model: the episode ends as INFRASTRUCTURE."""

    retryable: ClassVar[bool] = True


class SandboxUnavailable(InfrastructureError):
    """The sandbox failed, not the code that it ran."""


class SearchUnavailable(InfrastructureError):
    """The search engine failed; this is not the same as finding nothing."""


class SearchBudgetSpent(SearchUnavailable):
    """The calls or the money for live searches are used up; nothing more is sent."""

    retryable: ClassVar[bool] = False


class BackendUnavailable(InfrastructureError):
    """The model server failed or is gone."""


class JudgeUnavailable(InfrastructureError):
    """The judge gave no usable verdict."""


class JudgeBudgetSpent(JudgeUnavailable):
    """The judge may not be asked any more in this run; its limits are in the params."""

    retryable: ClassVar[bool] = False
