"""Architecture, tokenizer and processor of the pocket base model, untrained.

A Qwen3-VL of about two million parameters. Qwen3-VL, because its learned absolute vision positions
let a small model say where something is; smooth initial positions and a wide initial range, because
without them nothing was learned in tens of thousands of samples
(docs/decisions/0002-pocket-base.md).
"""

import math
from collections.abc import Iterator

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from agentic_vlm.schema import Need
from agentic_vlm.world.drawing import cell_box, derive_rng
from agentic_vlm.world.entities import article_text, build_entities
from agentic_vlm.world.processor import ImageOnlyQwen3VLProcessor
from agentic_vlm.world.samples import FAMILIES, make_sample

SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
"""Qwen's own special tokens, with Qwen's names."""
_NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
    "im_start_token": "<|im_start|>",
}
_TAGS = [
    f"<{slash}{tag}>" for tag in ("think", "tool_call", "code", "answer") for slash in ("", "/")
]
"""Tags of the protocol as one token each, as `<think>` and `<tool_call>` are in Qwen3's
tokenizer."""
_VOCAB_SIZE = 768
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_INITIAL_RANGE = 0.06
_POSITION_SCALE = 0.5
_NUM_POSITIONS = 256


def _corpus() -> Iterator[str]:
    """Yield text with the words that the pocket world, its tools and its prompts use."""
    # Longer names than the world has show the tokenizer more pairs of syllables.
    entities = build_entities(1, num_entities=1200, held_out_share=0.0, num_syllables=3)
    for entity in entities:
        yield f"{article_text(entity)} 1. {entity.name}: {entity.name} emblem"
        yield (
            f'{{"name": "search", "arguments": {{"query": "{entity.name} founded"}}}} '
            '{"name": "image_search"}'
        )
    for family in FAMILIES:
        for need in Need:
            for index in range(200):
                sample = make_sample(
                    1, split="corpus", family=family, need=need, index=index, entities=entities
                )
                yield f"{sample.question.text} {sample.question.answer}"
                for step in sample.question.solution:
                    yield f"```python\nprint({step.text})\n```\nstdout: {step.reads}\nstderr: \n"
    rng = derive_rng(1, "corpus")
    for _ in range(400):
        box = ",".join(map(str, cell_box((rng.randrange(8), rng.randrange(8)))))
        yield (
            f"```python\nimage_1.crop(({box}))\n```\n"
            f"It is at {box}. Look closer. Compute. Search for it."
        )
        yield "system user assistant You answer questions about pictures. You may run Python code."
        yield (
            "Answer with a single word or number. The label is not there. Try again. Error: Images:"
        )
        yield "Write the query for: Write it as code. Write the sum of all bars. Whose emblem?"
        yield "Traceback (most recent call last): NameError SyntaxError Code execution result:"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the byte-level tokenizer; digits stay single, as in Qwen's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # A name has the same tokens behind a space and behind a quotation mark: what a small
            # model is to copy from a page into a query must not be spelled in two ways.
            pre_tokenizers.Split(Regex(" (?=[A-Z])"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _corpus(),
        trainers.BpeTrainer(
            vocab_size=_VOCAB_SIZE - len(_TAGS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=SPECIALS,
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=_NAMED,
    )
    fast.add_tokens(_TAGS)
    return fast


def build_processor(*, min_pixels: int, max_pixels: int) -> ImageOnlyQwen3VLProcessor:
    """Return tokenizer and image processor in one."""
    image_processor = Qwen2VLImageProcessorPil(
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
    )
    return ImageOnlyQwen3VLProcessor(
        image_processor=image_processor, tokenizer=build_tokenizer(), chat_template=_CHAT_TEMPLATE
    )


def _config(tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int) -> Qwen3VLConfig:
    return Qwen3VLConfig(  # type: ignore[call-arg]  # initializer_range: its base class takes it
        text_config=_text_config(tokenizer, hidden=hidden, layers=layers),
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 288,
            "num_heads": 3,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": hidden,
            "num_position_embeddings": _NUM_POSITIONS,
            "deepstack_visual_indexes": [1],
            "initializer_range": _INITIAL_RANGE,
        },
        image_token_id=_token_id(tokenizer, "<|image_pad|>"),
        video_token_id=_token_id(tokenizer, "<|video_pad|>"),
        vision_start_token_id=_token_id(tokenizer, "<|vision_start|>"),
        vision_end_token_id=_token_id(tokenizer, "<|vision_end|>"),
        tie_word_embeddings=True,
        initializer_range=_INITIAL_RANGE,
    )


def _text_config(
    tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int
) -> dict[str, object]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 32,
        "num_key_value_heads": hidden // 32,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": _token_id(tokenizer, "<|im_end|>"),
        "pad_token_id": _token_id(tokenizer, "<|endoftext|>"),
        "initializer_range": _INITIAL_RANGE,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
        },
    }


def _token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int), f"{token} is one token"
    return found


def _smooth_positions(num_positions: int, width: int) -> torch.Tensor:
    """Return [N, width] 2-D sine and cosine values, row half first."""
    side = math.isqrt(num_positions)
    frequencies = 1.0 / 100 ** (torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = waves[:, None].expand(side, side, -1)
    columns = waves[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(num_positions, -1)


def build_model(
    tokenizer: PreTrainedTokenizerFast, *, seed: int, hidden: int = 128, layers: int = 4
) -> Qwen3VLForConditionalGeneration:
    """Return the untrained model.

    Args:
        tokenizer: gives vocabulary and special ids.
        seed: seed of the weights.
        hidden: text width, a multiple of 32; tests use a narrower model.
        layers: text layers.
    """
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(_config(tokenizer, hidden=hidden, layers=layers))
    positions = model.model.visual.pos_embed.weight
    with torch.no_grad():
        positions.copy_(_POSITION_SCALE * _smooth_positions(*positions.shape))
    generation = model.generation_config
    generation.eos_token_id = _token_id(tokenizer, "<|im_end|>")
    generation.pad_token_id = _token_id(tokenizer, "<|endoftext|>")
    # Without it `transformers serve` ignores the temperature and decodes greedily.
    generation.do_sample = True
    return model
