"""The tool `image_search`: a picture to pages that show it."""

import json
from collections.abc import Sequence

from PIL import Image

from agentic_vlm.params import VisionParams
from agentic_vlm.schema import ToolCall
from agentic_vlm.search.base import SearchProvider
from agentic_vlm.tools.base import ToolResult, refusal
from agentic_vlm.tools.observe import Style, image_search_text
from agentic_vlm.tools.thumbnails import Decoder
from agentic_vlm.vision import safe_image


class ImageSearchTool:
    """Reverse search on the original picture; in deepeyesv2_plus on any picture or part of one."""

    name = "image_search"

    def __init__(
        self,
        provider: SearchProvider,
        *,
        images: Sequence[Image.Image],
        num_hits: int,
        vision: VisionParams,
        style: Style,
        decoder: Decoder,
        has_regions: bool = False,
    ) -> None:
        """Keep the engine and the pictures.

        Args:
            provider: the engine.
            images: the pictures of the episode in order, the question's first, at original size.
            num_hits: most hits that are shown.
            vision: limits of the thumbnails.
            style: how hits are shown.
            decoder: decodes the thumbnails.
            has_regions: accept `{"image": i, "box": [left, top, right, bottom]}`, the
                deepeyesv2_plus form; else arguments are refused, as in the release.
        """
        self._provider = provider
        self._images = images
        self._num_hits = num_hits
        self._vision = vision
        self._style = style
        self._decoder = decoder
        self._has_regions = has_regions

    async def run(self, call: ToolCall) -> ToolResult:
        """Search; nothing found is a result that says so.

        Raises:
            SearchUnavailable: the engine failed.
        """
        if not self._images:
            reason = "There is no input image to search for"
            return refusal(reason, error_class="NoImage")
        try:
            image = self._chosen(json.loads(call.arguments_json or "null"))
        except ValueError as fault:
            reason = f"Invalid tool call parameters for image search: {fault}"
            return refusal(reason, error_class="InvalidArguments")
        hits = await self._provider.search_image(image, num_hits=self._num_hits)
        hits = hits[: self._num_hits]
        if self._style == "compact":
            return ToolResult(image_search_text(hits, style=self._style))
        thumbnails = await self._decoder.decode([hit.thumbnail for hit in hits])
        # As in the release, a hit without its picture is left out.
        seen = [pair for pair in zip(hits, thumbnails, strict=True) if pair[1] is not None]
        images = tuple(self._presentable(image) for _, image in seen if image is not None)
        return ToolResult(image_search_text([hit for hit, _ in seen], style=self._style), images)

    async def close(self) -> None:
        """Hold nothing; the engine belongs to all episodes."""

    def _chosen(self, arguments: object) -> Image.Image:
        if arguments is None:
            return self._images[0]
        if not self._has_regions or not isinstance(arguments, dict):
            raise ValueError("it takes none")
        unknown = sorted(set(arguments) - {"image", "box"})
        if unknown:
            raise ValueError(f"it takes 'image' and 'box', not {unknown[0]!r}")
        number, box = arguments.get("image", 1), arguments.get("box")
        if type(number) is not int or not 1 <= number <= len(self._images):
            raise ValueError(f"'image' must be 1 to {len(self._images)}")
        image = self._images[number - 1]
        return image if box is None else _crop(image, box)

    def _presentable(self, image: Image.Image) -> Image.Image:
        return safe_image(
            image,
            min_side_px=self._vision.min_side_px,
            max_side_px=self._vision.max_side_px,
            max_ratio=self._vision.max_ratio,
        )


def _crop(image: Image.Image, box: object) -> Image.Image:
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) is int for side in box):
        raise ValueError("'box' must be four whole numbers")
    left, top, right, bottom = box
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        raise ValueError(f"'box' must lie within 0, 0, {image.width}, {image.height}")
    return image.crop((left, top, right, bottom))
