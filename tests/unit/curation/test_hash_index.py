"""The index of hashes finds what comparing all of them finds, no more and no less."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentic_vlm.curation.hash_index import MAX_DISTANCE, HashIndex
from agentic_vlm.curation.picture_hashes import PictureHashes
from agentic_vlm.curation.pictures import THUMB_PX, WINDOWS, PictureView

_HASHES = st.integers(0, 2**64 - 1)
_BITS = st.sets(st.integers(0, 63), max_size=MAX_DISTANCE + 2)


def flip(value, bits):
    for bit in bits:
        value ^= 1 << bit
    return value


@settings(max_examples=60)
@given(_HASHES, st.lists(_BITS, min_size=1, max_size=30), st.lists(_BITS, min_size=1, max_size=3))
def test_all_hashes_within_the_distance_are_found_and_no_others(base, stored, wanted):
    hashes = np.array([flip(base, bits) for bits in stored], np.uint64)
    sought = np.array([flip(base, bits) for bits in wanted], np.uint64)
    index = HashIndex(hashes)
    gaps = np.bitwise_count(hashes[:, None] ^ sought).min(axis=1)
    for distance in range(MAX_DISTANCE + 1):
        found = index.find(sought, max_distance=distance)
        assert found.tolist() == np.flatnonzero(gaps <= distance).tolist()


@pytest.mark.parametrize("value", [0, 2**64 - 1, 0x0123_4567_89AB_CDEF])
def test_one_bit_of_any_band_is_enough_however_the_others_differ(value):
    """Two bits in each of three bands, and every single bit of the fourth: seven bits in all."""
    hashes = np.array(
        [
            flip(value, [bit, *(b for b in range(64) if b // 16 != bit // 16 and b % 16 in (3, 9))])
            for bit in range(64)
        ],
        np.uint64,
    )
    assert set(np.bitwise_count(hashes ^ np.uint64(value)).tolist()) == {MAX_DISTANCE}
    sought = np.array([value], np.uint64)
    found = HashIndex(hashes).find(sought, max_distance=MAX_DISTANCE)
    assert found.tolist() == list(range(64))


def test_a_distance_beyond_what_is_found_for_certain_is_refused():
    with pytest.raises(ValueError, match="8 bits: only what is within 7 is found"):
        HashIndex(np.zeros(1, np.uint64)).find(np.zeros(1, np.uint64), max_distance=8)


def view(rng, near=None):
    """Return a picture's hashes: some near those of another one, some its own."""
    windows = rng.integers(0, 2**64, (len(WINDOWS), 2), np.uint64)
    whole = rng.integers(0, 2**64, 2, np.uint64)
    ratio = rng.choice([1.0, 1.04, 1.05, 1.5])
    if near is not None:
        flips = np.uint64(1) << rng.integers(0, 64, (2, 8), np.uint64)
        few = [np.bitwise_or.reduce(row[: rng.integers(0, 7)], initial=0) for row in flips]
        centre = near.windows[rng.integers(len(WINDOWS))] ^ np.array(few, np.uint64)
        windows[0] = centre
        whole = np.array(near.hashes, np.uint64) ^ np.array(few, np.uint64)
    hashes = (int(whole[0]), int(whole[1]))
    thumb = np.zeros((THUMB_PX, THUMB_PX), np.uint8)
    return PictureView(hashes=hashes, windows=windows, thumb=thumb, ratio=float(ratio))


def draw_views(seed, num):
    rng = np.random.default_rng(seed)
    views = [view(rng) for _ in range(10)]
    return views + [view(rng, near=views[rng.integers(len(views))]) for _ in range(num - 10)]


def answers(views, **options):
    """Look every picture up among those before it, as the filter does."""
    hashes = PictureHashes(**options)
    found = []
    for one in views:
        found.append([numbers.tolist() for numbers in hashes.find(one)])
        hashes.add(one)
    return found, hashes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_distance", [0, 4, 5])
def test_blocks_and_index_give_the_same_pictures_as_comparing_all(seed, max_distance):
    views = draw_views(seed, 150)
    indexed, hashes = answers(views, max_distance=max_distance, block=32)
    compared, _ = answers(views, max_distance=max_distance, block=1000)
    assert indexed == compared
    assert hashes.num_indexed == 128
    assert sum(len(whole) for whole, _ in compared) > 5
    assert sum(len(crops) for _, crops in compared) > 5


def test_a_distance_too_large_for_the_index_is_compared_one_by_one():
    views = draw_views(4, 100)
    indexed, hashes = answers(views, max_distance=9, block=32)
    assert (indexed, hashes.num_indexed) == (answers(views, max_distance=9, block=1000)[0], 0)


def test_pictures_that_look_alike_cost_no_more_than_comparing_all():
    (one,) = draw_views(5, 10)[:1]
    hashes = PictureHashes(max_distance=4, block=32)
    for number in range(64):
        hashes.add(replace(one, ratio=1.0 + number / 1000))
    assert not hashes.is_worth_looking_up(one)
    found = hashes.find(one)
    assert len(found.whole) == sum(abs((1 + n / 1000) / one.ratio - 1) < 0.05 for n in range(64))
