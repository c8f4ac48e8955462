"""Messages to token ids: the only place that knows the chat template.

The format is Qwen ChatML. `render_prompt` gives the ids that the model's own template gives;
observations are user messages, and every turn after the first is pre-filled with `<think>`, as in
the released environment. Texts are data: chat-template tokens in them are neutralised, and only
`<image>` marks that the prompt and the tools wrote stand for pictures.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from agentic_vlm.agent.context import (
    PlacedImage,
    PlaceholderIds,
    RenderedTokens,
    TokenContext,
)
from agentic_vlm.backends.seal import pixel_digest
from agentic_vlm.errors import ExactnessError
from agentic_vlm.tools.neutralise import IMAGE_MARK, neutralise_control
from agentic_vlm.vision import grid_thw, num_vision_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINK_PREFILL = "<think>"
"""Written for the policy at the start of every turn after the first."""
END_OF_TURN = "<|im_end|>"


class PixelLimits(Protocol):
    """The part of the vision params that fixes how many tokens a picture takes."""

    @property
    def min_pixels(self) -> int:
        """Smallest area that the processor leaves as it is."""
        ...

    @property
    def max_pixels(self) -> int:
        """Largest area that the processor leaves as it is."""
        ...


class Renderer:
    """Turns texts and pictures into token ids for one model."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, vision: PixelLimits) -> None:
        """Keep the tokenizer and the pixel limits of the model's processor."""
        self.tokenizer = tokenizer
        self._vision = vision
        self.placeholders = PlaceholderIds(
            start=self._token_id("<|vision_start|>"),
            pad=self._token_id("<|image_pad|>"),
            end=self._token_id("<|vision_end|>"),
        )
        self.end_of_turn_id = self._token_id(END_OF_TURN)
        self._controls = _foreign_controls(tokenizer)

    def render_prompt(
        self, system: str, user: str, images: Sequence[Image.Image], *, episode_id: str = ""
    ) -> TokenContext:
        """Return the context before the first turn, which has no pre-fill.

        Raises:
            ExactnessError: `user` has not one `<image>` mark per picture.
        """
        head = f"<|im_start|>system\n{self._data(system)}<|im_end|>\n" if system else ""
        tokens = self._render(
            f"{head}<|im_start|>user\n",
            user,
            "<|im_end|>\n<|im_start|>assistant\n",
            images,
            where=(episode_id, 0),
        )
        return TokenContext(episode_id, self.placeholders, list(tokens.ids), list(tokens.images))

    def render_observation(
        self, context: TokenContext, text: str, images: Sequence[Image.Image]
    ) -> RenderedTokens:
        """Return the tokens that answer the last turn, up to and including the pre-fill.

        They begin with the end of the policy's turn where the policy did not write it itself,
        as after a stop string. Nothing is appended yet, so that the caller can look at the length.

        Raises:
            ExactnessError: `text` has not one `<image>` mark per picture.
        """
        return self._render(
            f"{self._turn_end(context)}\n<|im_start|>user\n",
            text,
            f"<|im_end|>\n<|im_start|>assistant\n{THINK_PREFILL}",
            images,
            where=(context.episode_id, len(context.turn_spans)),
        )

    def append_observation(
        self, context: TokenContext, text: str, images: Sequence[Image.Image]
    ) -> None:
        """Render an observation and append it to the context."""
        context.append_environment(self.render_observation(context, text, images))

    def encode_policy(self, text: str, *, ends_turn: bool) -> tuple[int, ...]:
        """Return ids for a text that somebody else wrote in the policy's place."""
        ids = self._encode(self._data(text))
        return (*ids, self.end_of_turn_id) if ends_turn else tuple(ids)

    def decode_policy(self, ids: Sequence[int]) -> str:
        """Return the text of a turn without the end-of-turn token."""
        kept = ids[:-1] if ids and ids[-1] == self.end_of_turn_id else ids
        return str(self.tokenizer.decode(list(kept), clean_up_tokenization_spaces=False))

    def _turn_end(self, context: TokenContext) -> str:
        is_ended = context.completion_ids[-1:] == [self.end_of_turn_id]
        return "" if is_ended else END_OF_TURN

    def _render(
        self,
        head: str,
        body: str,
        tail: str,
        images: Sequence[Image.Image],
        *,
        where: tuple[str, int],
    ) -> RenderedTokens:
        pieces = [self._data(piece) for piece in body.split(IMAGE_MARK)]
        if len(pieces) != len(images) + 1:
            raise ExactnessError(
                f"episode {where[0]}, turn {where[1]}, image {min(len(pieces), len(images) + 1)}",
                f"{len(pieces) - 1} image marks but {len(images)} pictures",
                "the text must hold one <image> per picture and neutralise all data",
            )
        pieces[0] = head + pieces[0]
        pieces[-1] += tail
        placed = tuple(self._place(image, turn=where[1]) for image in images)
        ids = list(self._encode(pieces[0]))
        for picture, piece in zip(placed, pieces[1:], strict=True):
            ids += self._placeholder_ids(picture)
            ids += self._encode(piece)
        return RenderedTokens(tuple(ids), placed)

    def _place(self, image: Image.Image, *, turn: int) -> PlacedImage:
        grid = grid_thw(
            image.height,
            image.width,
            min_pixels=self._vision.min_pixels,
            max_pixels=self._vision.max_pixels,
        )
        return PlacedImage(image, pixel_digest(image), grid, num_vision_tokens(grid), turn)

    def _placeholder_ids(self, picture: PlacedImage) -> list[int]:
        start, pad, end = self.placeholders
        return [start, *[pad] * picture.num_tokens, end]

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False)) if text else []

    def _data(self, text: str) -> str:
        text = neutralise_control(text)
        for control in self._controls:
            text = text.replace(control, f"{control[0]} {control[1:]}")
        return text

    def _token_id(self, token: str) -> int:
        token_id = self.tokenizer.convert_tokens_to_ids(token)
        if not isinstance(token_id, int) or token_id == self.tokenizer.unk_token_id:
            raise ValueError(f"the tokenizer has no token {token}; it is not of the Qwen-VL family")
        return token_id


def _foreign_controls(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    # Special tokens of other spellings, such as <s>. Protocol tags may be special tokens of a small
    # tokenizer, but they are legitimate in system prompts and in the policy's own turns.
    specials = [str(token) for token in tokenizer.all_special_tokens]
    tags = {f"<{slash}{tag}>" for slash in ("", "/") for tag in _TAGS}
    return [token for token in specials if token not in tags and not token.startswith("<|")]


_TAGS = ("think", "code", "tool_call", "tool_response", "answer")
