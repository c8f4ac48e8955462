"""What a cell was seen to do."""

from agentic_vlm.analysis.cell_calls import Effect
from agentic_vlm.analysis.cell_values import PICTURES, Value


class CellFacts:
    """What was seen so far."""

    def __init__(self) -> None:
        self.crops = False
        """A part of a picture is cut out."""
        self.draws = False
        """Something is drawn on a picture."""
        self.changes_picture = False
        """A picture is changed or measured."""
        self.computes = False
        """Something is computed that is no picture."""
        self.sees_picture = False
        """A picture is shown or saved."""
        self.reads_earlier_names = False
        """A name is read that an earlier cell must have set."""

    def note(self, effect: Effect) -> None:
        """Note what something does."""
        match effect:
            case Effect.CROP:
                self.crops = True
            case Effect.DRAW:
                self.draws = True
            case Effect.CHANGE:
                self.changes_picture = True
            case Effect.COMPUTE:
                self.computes = True

    def note_use(self, value: Value) -> None:
        """Note that a value is shown or saved, or is what the cell ends with."""
        self.sees_picture |= value in PICTURES
        self.changes_picture |= value in (Value.EXTENT, Value.DERIVED)
