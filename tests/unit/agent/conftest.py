"""A tiny tokenizer of the Qwen family, and builders for episodes without a model."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from agentic_vlm.agent.render import Renderer
from agentic_vlm.agent.task import EpisodeTask
from agentic_vlm.params import AgentParams, SearchParams, VisionParams
from agentic_vlm.sandbox.base import CellResult, CellStatus
from agentic_vlm.sandbox.fake import FakeSandbox
from agentic_vlm.schema import ImageRef, ProbeMode
from agentic_vlm.search.fake import FakeSearch
from agentic_vlm.tools.toolbox import Toolkit

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with the special tokens of Qwen."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    bpe.train_from_iterator(["assistant user system stdout answer think code print"], trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers types no init
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    fast.chat_template = TEMPLATE
    return fast


@pytest.fixture(scope="session")
def renderer(tokenizer: PreTrainedTokenizerFast) -> Renderer:
    """A renderer with the pocket's pixel limits."""
    return Renderer(tokenizer, vision=VisionParams())


def picture(colour: str = "red", side: int = 112) -> Image.Image:
    """A square of one colour."""
    return Image.new("RGB", (side, side), colour)


CELLS: Mapping[str, CellResult] = {
    "crop": CellResult(CellStatus.OK, images=(picture("blue", 56),)),
    "two": CellResult(CellStatus.OK, stdout="x\n", images=(picture("blue"), picture("green", 140))),
    "sum": CellResult(CellStatus.OK, value="42"),
    "bad": CellResult(
        CellStatus.ERROR,
        stderr="Traceback\nZeroDivisionError: division by zero",
        error_class="ZeroDivisionError",
    ),
}


@pytest.fixture
def make_kit() -> Callable[..., Toolkit]:
    """Build a toolkit over fakes; keywords change agent params."""

    def make(*, search: FakeSearch | None = None, **changes: object) -> Toolkit:
        agent = AgentParams.model_validate({"max_infrastructure_retries": 0, **changes})
        return Toolkit(
            agent=agent,
            vision=VisionParams(),
            search=SearchParams(),
            sandbox=FakeSandbox(CELLS),
            provider=search or FakeSearch(),
        )

    return make


@pytest.fixture
def make_task() -> Callable[..., EpisodeTask]:
    """Build a task with one red picture."""

    def make(
        sample_id: str = "s1",
        *,
        mode: ProbeMode = ProbeMode.AGENT,
        images: Sequence[Image.Image] = (picture(),),
    ) -> EpisodeTask:
        refs = tuple(
            ImageRef(sha256=f"{i:064x}", width_px=image.width, height_px=image.height)
            for i, image in enumerate(images)
        )
        return EpisodeTask(
            sample_id=sample_id,
            question="What colour is it?",
            images=tuple(images),
            image_refs=refs,
            mode=mode,
            attempt=0,
            seed=7,
            stage="probe",
        )

    return make
