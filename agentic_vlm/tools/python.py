"""The tool `python`: a code block to a sandbox cell, and its result to an observation."""

from collections.abc import Sequence

from PIL import Image

from agentic_vlm.errors import ImageError
from agentic_vlm.params import VisionParams
from agentic_vlm.sandbox.base import CellStatus, Sandbox, Session
from agentic_vlm.schema import ObservationStatus, ToolCall
from agentic_vlm.tools.base import ToolResult
from agentic_vlm.tools.observe import Style, code_text
from agentic_vlm.vision import safe_image

_STATUS = {
    CellStatus.OK: ObservationStatus.OK,
    CellStatus.ERROR: ObservationStatus.ERROR,
    CellStatus.TIMEOUT: ObservationStatus.TIMEOUT,
    CellStatus.CRASHED: ObservationStatus.CRASHED,
}


class PythonTool:
    """One sandbox session, opened at the first call: an episode without code costs none."""

    name = "python"

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        images: Sequence[Image.Image],
        seed: int,
        vision: VisionParams,
        style: Style,
    ) -> None:
        """Keep what the session will start with."""
        self._sandbox = sandbox
        self._images = images
        self._seed = seed
        self._vision = vision
        self._style = style
        self._session: Session | None = None

    async def run(self, call: ToolCall) -> ToolResult:
        """Run the code verbatim; an error in it is a result.

        Raises:
            SandboxUnavailable: the sandbox failed, not the code.
        """
        if self._session is None:
            self._session = await self._sandbox.open(self._images, seed=self._seed)
        result = await self._session.run_cell(call.code)
        images = self._presentable(result.images)
        shown = code_text(result, style=self._style, num_images=len(images))
        return ToolResult(
            text=shown.text,
            images=images,
            status=_STATUS[result.status],
            error_class=result.error_class,
            num_dropped_chars=result.num_dropped_chars + shown.num_dropped_chars,
        )

    async def close(self) -> None:
        """End the session, if one was opened."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _presentable(self, images: Sequence[Image.Image]) -> tuple[Image.Image, ...]:
        kept = []
        for image in images:
            try:
                kept.append(
                    safe_image(
                        image,
                        min_side_px=self._vision.min_side_px,
                        max_side_px=self._vision.max_side_px,
                        max_ratio=self._vision.max_ratio,
                    )
                )
            except ImageError:
                # A picture without pixels cannot be shown; the observation then has no marker.
                continue
        return tuple(kept)
