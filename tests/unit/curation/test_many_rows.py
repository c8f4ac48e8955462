"""Duplicates among more rows than memory holds: the same answers as with everything in memory."""

import random

import pytest

from agentic_vlm.curation import question_pairs
from agentic_vlm.curation.digests import DigestMap, digest_of
from agentic_vlm.curation.duplicates import DuplicateFilter
from agentic_vlm.curation.question_pairs import QuestionPairs
from agentic_vlm.params import CurateParams
from agentic_vlm.schema import RejectReason


def test_a_digest_map_is_a_dictionary():
    rng = random.Random(5)
    names = [str(rng.randrange(3000)) for _ in range(6000)]
    table, known = DigestMap(), {}
    for number, name in enumerate(names):
        assert table.add(digest_of(name), number) == (name not in known)
        known.setdefault(name, number)
    assert len(table) == len(known)
    assert all(table.get(digest_of(name)) == number for name, number in known.items())
    assert table.get(digest_of("none")) is None


@pytest.fixture
def samples(make_sample):
    """Questions of which every fifth is another with one word changed, and some stand thrice."""
    rng = random.Random(7)
    words = [f"{a}{b}" for a in ("ba", "ce", "di", "fo", "gu") for b in ("ra", "ne", "li", "su")]
    questions = []
    for number in range(200):
        if number % 5 or number < 10:
            questions.append(" ".join(rng.choices(words, k=20)))
        else:
            changed = rng.choice(questions).split()
            changed[3] = rng.choice(words)
            questions.append(" ".join(changed))
    questions += questions[5:20] * 2
    return [
        make_sample(sample_id=str(digest_of(question)), question=question, source_row_id=str(at))
        for at, question in enumerate(questions)
    ]


def test_groups_on_disk_reject_what_the_index_in_memory_rejects(samples, monkeypatch):
    monkeypatch.setattr(question_pairs, "_BLOCK", 64)
    pairs = QuestionPairs()
    for sample in samples:
        pairs.add(sample.sample_id, sample.question)
    pairs.settle()
    in_memory = DuplicateFilter({}, params=CurateParams())
    on_disk = DuplicateFilter({}, params=CurateParams(), pairs=pairs)
    first = [in_memory.check(sample) for sample in samples]
    assert [on_disk.check(sample) for sample in samples] == first
    reasons = [row.reason for row in first if row is not None]
    assert reasons.count(RejectReason.NEAR_DUPLICATE) > 30
    assert reasons.count(RejectReason.EXACT_DUPLICATE) > 20


def test_a_copy_of_a_rejected_near_duplicate_is_rejected_too(make_sample):
    question = "how many of the red pens and blue pens in the two large boxes are left over"
    near = question.replace("large", "small")
    rows = [make_sample(sample_id="a", question=question)]
    rows += [make_sample(sample_id="b", question=near, source_row_id=str(at)) for at in (1, 2)]
    finder = DuplicateFilter({}, params=CurateParams())
    outcomes = [finder.check(row) for row in rows]
    assert outcomes[0] is None
    assert [row.reason for row in outcomes[1:]] == [RejectReason.NEAR_DUPLICATE] * 2
