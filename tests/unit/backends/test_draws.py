import pytest
import torch

from agentic_vlm.backends.draws import choose_tokens, uniform_draws


def test_tokens_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).expand(4000, 4)
    draws = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens, logprobs = choose_tokens(logits, [1.0] * 4000, draws, banned=torch.tensor([3]))
    shares = tokens.bincount(minlength=4) / 4000
    expected = torch.tensor([0.0, 1.0, 2.0]).softmax(0)
    assert shares[3] == 0
    assert shares[:3].tolist() == pytest.approx(expected.tolist(), abs=0.03)
    assert logprobs[tokens == 2][0] == pytest.approx(float(logits[0].log_softmax(0)[2]))


def test_the_largest_draw_takes_a_token_that_may_be_sampled() -> None:
    draws = torch.tensor([0.0, 1.0 - 2**-53]).double()
    tokens, _ = choose_tokens(torch.zeros(2, 4), [1.0, 1.0], draws, banned=torch.tensor([0, 3]))
    assert tokens.tolist() == [1, 2]


def test_the_first_draws_do_not_depend_on_how_many_there_are() -> None:
    long, short = uniform_draws(7, 9, length=12), uniform_draws(7, 4, length=6)
    assert long[:4].tolist() == short[:4].tolist()
    assert short[4:].tolist() == [0.0, 0.0]
    assert uniform_draws(8, 4, length=6)[0] != short[0]
