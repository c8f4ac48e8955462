"""How long it takes to find a picture's hashes among many, with the index and without.

    python benchmarks/picture_lookups.py --pictures 100000

The last line is one JSON object. Hashes are those of drawn pictures; each further picture has all
of theirs changed in the same bits, so that parts of one picture stay as near each other as they
are: four fifths in any bits, one fifth in up to 16, as pictures of one layout are. The rival
compares all hashes, block by block. In the job, which adds one picture after the other, look-ups
are timed for 5,000 pictures at most, evenly spread, and counted for all.
"""

import argparse
import json
import resource
import time
from typing import Any

import numpy as np
from planting import plant

from agentic_vlm.curation.picture_hashes import PictureHashes
from agentic_vlm.curation.pictures import PictureView, view_picture

NUM_DRAWN = 200
DISTANCE = 4


def draw_views() -> list[PictureView]:
    """Return what is compared of some drawn pictures."""
    field = plant(1000, num_pictures=NUM_DRAWN, scale=0.01)
    return [view_picture(picture) for picture in list(field.pictures.values())[:NUM_DRAWN]]


def multiply(drawn: list[PictureView], number: int) -> PictureView:
    """Return picture `number` of any number of pictures."""
    one = drawn[number % len(drawn)]
    rng = np.random.default_rng(number)
    change = rng.integers(0, 2**64, 2, np.uint64)
    if number % 5 == 0:
        bits = np.uint64(1) << rng.integers(0, 64, (2, 16), np.uint64)
        change = np.bitwise_or.reduce(bits, axis=1)
    whole = np.array(one.hashes, np.uint64) ^ change
    return PictureView(
        hashes=(int(whole[0]), int(whole[1])),
        windows=one.windows ^ change,
        thumb=one.thumb,
        ratio=one.ratio * rng.uniform(0.8, 1.25),
    )


def measure(num_pictures: int, drawn: list[PictureView]) -> dict[str, Any]:
    """Return times per look-up at a full index, and of a whole job that adds every picture."""
    views = [multiply(drawn, number) for number in range(num_pictures)]
    hashes = PictureHashes(max_distance=DISTANCE)
    stride = max(num_pictures // 5000, 1)
    job = 0.0
    for number, view in enumerate(views):
        if number % stride == 0:
            job += stride * _timed(hashes, [view])[1]
        start = time.process_time()
        hashes.add(view)
        job += time.process_time() - start
    # A block of all pictures is never full, so that none of them is indexed.
    compared = PictureHashes(max_distance=DISTANCE, block=num_pictures + 1)
    for view in views:
        compared.add(view)
    asked = [multiply(drawn, num_pictures + number) for number in range(100)]
    asked += views[:: max(num_pictures // 50, 1)]
    found, found_s = _timed(hashes, asked)
    wanted, compared_s = _timed(compared, asked)
    return {
        "pictures": num_pictures,
        "look_up_ms": 1000 * found_s / len(asked),
        "compare_all_ms": 1000 * compared_s / len(asked),
        "job_cpu_s": job,
        "job_ms_per_picture": 1000 * job / num_pictures,
        "same_candidates": found == wanted,
        "candidates_per_picture": sum(len(one) for pair in found for one in pair) / len(asked),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _timed(hashes: PictureHashes, asked: list[PictureView]) -> tuple[list[list[list[int]]], float]:
    start = time.process_time()
    found = [[numbers.tolist() for numbers in hashes.find(view)] for view in asked]
    return found, time.process_time() - start


def main() -> None:
    """Measure a hundredth, a tenth and all of the pictures."""
    parser = argparse.ArgumentParser(
        description="Time look-ups of pictures.",
        epilog="example: python benchmarks/picture_lookups.py --pictures 100000",
    )
    parser.add_argument("--pictures", type=int, default=100_000)
    options = parser.parse_args()
    drawn = draw_views()
    figures = {}
    for share in (100, 10, 1):
        num_pictures = options.pictures // share
        figures[str(num_pictures)] = measure(num_pictures, drawn)
        print(json.dumps(figures[str(num_pictures)]), flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
