"""Finished episodes keep their pictures encoded; the checks see them as ever."""

from collections.abc import Sequence

import pytest
from PIL import Image

from agentic_vlm.agent.context import check_exact
from agentic_vlm.agent.render import Renderer
from agentic_vlm.errors import ExactnessError
from agentic_vlm.training.loop_thread import LoopThread
from agentic_vlm.training.rollouts import RewardedEpisode
from agentic_vlm.training.stored_images import DecodedPictures, StoredImage, png_file
from agentic_vlm.vision import encode_png
from tests.unit.training.conftest import picture
from tests.unit.training.test_rl import make_roller


@pytest.fixture
def rollouts(renderer: Renderer, loop: LoopThread) -> Sequence[RewardedEpisode]:
    """Return episodes with a prompt picture and up to two tool pictures."""
    return make_roller(renderer, loop).roll(["s1"] * 6, step=0)


def test_a_finished_episode_keeps_its_pictures_encoded_and_exact(
    rollouts: Sequence[RewardedEpisode],
) -> None:
    placed = [one for rollout in rollouts for one in rollout.episode.context.placed]  # type: ignore[union-attr]
    assert len(placed) > len(rollouts)
    assert all(isinstance(one, StoredImage) for one in placed)
    for rollout in rollouts:
        assert rollout.episode.context is not None
        check_exact(rollout.episode.context)


def test_a_picture_whose_file_holds_another_one_is_noticed(
    rollouts: Sequence[RewardedEpisode],
) -> None:
    context = rollouts[0].episode.context
    assert context is not None
    one = context.placed[0]
    png = encode_png(picture(5))
    assert isinstance(one, StoredImage)
    object.__setattr__(one, "_file", png_file("other", png))
    with pytest.raises(ExactnessError, match="image 1: the picture is not the one"):
        check_exact(context)


def test_few_decoded_pictures_are_held() -> None:
    loaded: list[int] = []

    def load(number: int) -> Image.Image:
        loaded.append(number)
        return Image.new("RGB", (10, 10))

    held = DecodedPictures(max_bytes=900)
    for number in (0, 1, 0, 2, 0, 1):
        held.get(str(number), lambda number=number: load(number))  # type: ignore[misc]
    assert held.size_bytes == 800
    assert loaded == [0, 1, 2, 1]
