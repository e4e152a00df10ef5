"""An action head that takes one of several ways and not their mean."""

from __future__ import annotations

import pytest
import torch

from world_model.heads.action_modes import ActionModes


def test_of_two_ways_round_one_is_taken_and_not_the_mean() -> None:
    torch.manual_seed(0)
    head, x = ActionModes(4, 2, 2), torch.ones(64, 4)
    actions = torch.tensor([[1.0, 0.2], [-1.0, 0.2]]).repeat(32, 1) + 0.01 * torch.randn(64, 2)
    head.fit(actions, seed=0)
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        chosen, missed = head.errors(x, actions, torch.ones(64, dtype=torch.bool))
        (chosen + missed).backward()
        optimizer.step()
    taken = head(x, torch.zeros(2))[0]
    torch.testing.assert_close(taken.abs(), torch.tensor([1.0, 0.2]), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match=r"1 different .* have no 2 modes: set inverse_dynamics\.modes lower"):
        head.fit(actions[:1], seed=0)


def test_of_many_ways_one_is_taken_though_to_stay_is_likelier_than_any() -> None:
    head = ActionModes(1, 2, 3)
    head.centres.copy_(torch.tensor([[0.05, -0.05], [1.0, 0.0], [-1.0, 0.0]]))
    with torch.no_grad():
        for parameter in (head.logits.weight, head.offsets.weight, head.offsets.bias):
            parameter.zero_()
        head.logits.bias.copy_(torch.tensor([0.4, 0.25, 0.35]).log())
    torch.testing.assert_close(head(torch.ones(1, 1), torch.zeros(2)), head.centres[2:])
    torch.testing.assert_close(head(torch.ones(1, 1), head.centres[2]), head.centres[:1])  # where that is to stay
