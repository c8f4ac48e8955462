"""HybridSearch: words and meaning together."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agentic_vlm.errors import SearchUnavailable
from agentic_vlm.search import LocalSearch, TextHit, build_index
from agentic_vlm.search.dense import (
    HybridSearch,
    TextEncoder,
    TransformersEncoder,
    Vectors,
    embed_corpus,
)

from .conftest import Page

PAGES = [
    Page("a", "Dog", "A dog barks.", "", "https://w.example/dog"),
    Page("b", "Cat", "A cat purrs.", "", "https://w.example/cat"),
    Page("c", "Mill", "A mill grinds; no dog.", "", "https://w.example/mill"),
]


class AnimalEncoder:
    """Knows that a hound is a dog."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        def vector(text: str) -> list[float]:
            text = text.casefold()
            return [float(text.startswith(("dog", "hound"))), float("cat" in text), 0.1]

        rows = np.array([vector(text) for text in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    build_index(PAGES, [], tmp_path / "corpus")
    embed_corpus(tmp_path / "corpus", AnimalEncoder(), model="animals")
    return tmp_path / "corpus"


def find(corpus: Path, query: str, *, num_hits: int = 3, model: str = "animals") -> list[TextHit]:
    async def go() -> list[TextHit]:
        local = LocalSearch(corpus, max_snippet_chars=99, max_distance=14)
        encoder: TextEncoder = AnimalEncoder()
        search = HybridSearch(local, corpus, encoder=encoder, model=model, max_snippet_chars=99)
        try:
            return await search.search_text(query, num_hits=num_hits)
        finally:
            await search.close()

    return asyncio.run(go())


def test_a_page_without_the_word_is_found_by_its_meaning(corpus: Path) -> None:
    (hit,) = find(corpus, "hound", num_hits=1)
    assert hit == TextHit("Dog", "https://w.example/dog", "A dog barks.", "")


def test_a_page_that_is_best_in_both_lists_comes_first_and_once(corpus: Path) -> None:
    assert [hit.title for hit in find(corpus, "dog")][:1] == ["Dog"]
    assert len(find(corpus, "dog")) == 3


def test_nothing_asked_finds_nothing(corpus: Path) -> None:
    assert find(corpus, " ") == find(corpus, "dog", num_hits=0) == []


def test_vectors_of_another_model_or_none_are_refused_with_the_fix(
    corpus: Path, tmp_path: Path
) -> None:
    with pytest.raises(SearchUnavailable, match="embed --model plants"):
        find(corpus, "dog", model="plants")
    build_index(PAGES, [], tmp_path / "plain")
    with pytest.raises(SearchUnavailable, match="embed --model animals"):
        find(tmp_path / "plain", "dog")


def test_building_a_corpus_anew_drops_its_vectors(corpus: Path) -> None:
    build_index(PAGES[:2], [], corpus)
    with pytest.raises(SearchUnavailable):
        find(corpus, "dog")


def test_an_empty_corpus_has_no_vectors(tmp_path: Path) -> None:
    build_index([], [], tmp_path / "corpus")
    assert embed_corpus(tmp_path / "corpus", AnimalEncoder(), model="animals") == 0
    assert find(tmp_path / "corpus", "dog") == []


@pytest.mark.slow
def test_a_model_of_the_transformers_library_gives_vectors_of_length_one(tmp_path: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "a", "dog", "cat", "barks"]
    plain = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = TransformersEncoder(tmp_path)
    alone = encoder.encode(["a dog"])
    together = encoder.encode(["a dog", "a cat barks a cat barks"])
    assert together.shape == (2, 16)
    assert np.linalg.norm(together, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
    # Padding beside a longer text changes nothing.
    assert together[0] == pytest.approx(alone[0], abs=1e-5)


@pytest.mark.slow
def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(SearchUnavailable, match=r"search\.dense_model"):
        TransformersEncoder(tmp_path).encode(["a dog"])
