"""Positions and prefill are those of the models themselves."""

from typing import Any

import pytest
import torch

from agentic_vlm.agent.render import Renderer
from agentic_vlm.backends.segments import rope_positions
from tests.unit.training.conftest import mixed_contexts


def test_positions_are_those_of_the_models(
    family_model: Any, processor: Any, renderer: Renderer
) -> None:
    for context in mixed_contexts(renderer):
        ids = torch.tensor([context.ids])
        grids = [placed.grid_thw for placed in context.placed]
        theirs, _ = family_model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == processor.image_token_id).int(),
            image_grid_thw=torch.tensor(grids) if grids else None,
        )
        ours = rope_positions(context.ids, grids, pad_id=processor.image_token_id, merge=2)
        assert torch.equal(ours, theirs[:, 0])


def test_positions_refuse_pictures_that_do_not_fit_the_placeholders() -> None:
    assert rope_positions([7, 5, 5, 7], [(1, 2, 4)], pad_id=5, merge=2).tolist() == [
        [0, 1, 1, 3],
        [0, 1, 1, 3],
        [0, 1, 2, 3],
    ]
    with pytest.raises(ValueError, match="2 placeholders for a grid of 1x2x2"):
        rope_positions([7, 5, 5], [(1, 4, 4)], pad_id=5, merge=2)
    with pytest.raises(ValueError, match="more pictures than placeholder runs"):
        rope_positions([7, 7], [(1, 2, 2)], pad_id=5, merge=2)
