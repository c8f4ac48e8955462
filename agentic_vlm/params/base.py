"""Section: the base of every section of params.yaml."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen section with known keys only.

    Class defaults are the pocket values, for use in code. In params.yaml every key must be
    written out, because DVC sees the file and not the class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
