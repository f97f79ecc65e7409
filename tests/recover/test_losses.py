from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penjing.errors import PenjingError
from penjing.network import Call
from penjing.network.batch import Batch
from penjing.recover.losses import class_scores, label_loss, teacher_loss
from penjing.recover.objective import Objective
from tests.recover.models import classifier


def batch(targets: Tensor | None) -> Batch:
    return Batch(Call(()), targets, None, 0)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_label_loss_is_mean_negative_log_likelihood() -> None:
    scores, targets = torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 4
    expected = -np.log(softmax(scores.numpy())[np.arange(7), targets.numpy()]).mean()
    assert label_loss(scores, batch(targets)).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "targets"), [((5, 4), (5,)), ((5, 3, 4), (5, 3)), ((5, 4, 6, 7), (5, 6, 7))], ids=str
)
def test_class_scores_are_found_wherever_classes_lie(
    shape: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    outputs, labels = torch.randn(shape), torch.randint(4, targets)
    found = class_scores({"hidden": torch.randn(9), "logits": outputs}, labels)
    assert found is not None
    assert found.shape == (labels.numel(), 4)
    at = 1 if len(shape) == 4 else len(shape) - 1
    torch.testing.assert_close(found, outputs.movedim(at, -1).reshape(-1, 4), rtol=0, atol=0)


@pytest.mark.parametrize("targets", [None, torch.randn(5), torch.zeros(5, dtype=torch.bool), torch.arange(6)])
def test_class_scores_are_none_without_integer_targets_that_fit(targets: Tensor | None) -> None:
    assert class_scores(torch.randn(5, 4), targets) is None


def test_label_loss_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(PenjingError, match="PJ312"):
        label_loss(torch.randn(5, 4), batch(torch.randn(5)))


def test_teacher_loss_is_the_divergence_at_temperature_for_classes() -> None:
    mine, theirs = torch.randn(2, 6, 4, dtype=torch.float64)
    p, q = softmax(theirs.numpy() / 3), softmax(mine.numpy() / 3)
    expected = (p * np.log(p / q)).sum(1).mean() * 9
    found = teacher_loss(mine, theirs, torch.zeros(6, dtype=torch.int64), 3.0)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_teacher_loss_is_the_relative_square_without_classes() -> None:
    mine = {
        "a": torch.randn(6, 4).requires_grad_(),
        "b": torch.randn(3).requires_grad_(),
        "n": torch.arange(3),
    }
    theirs = {"a": torch.randn(6, 4), "b": torch.randn(3), "n": torch.arange(3)}
    parts = [float(((mine[k].detach() - theirs[k]) ** 2).mean() / (theirs[k] ** 2).mean()) for k in "ab"]
    assert teacher_loss(mine, theirs, None, 2.0).item() == pytest.approx(sum(parts) / 2, rel=1e-5)


def test_teacher_loss_is_zero_on_equal_outputs() -> None:
    same = torch.randn(6, 4).requires_grad_()
    assert teacher_loss(same, same.detach(), None, 2.0).item() == 0
    assert teacher_loss(same, same.detach(), torch.arange(6) % 4, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_teacher_loss_refuses_outputs_of_other_shapes() -> None:
    with pytest.raises(PenjingError, match="PJ312"):
        teacher_loss(torch.randn(3, 4).requires_grad_(), torch.randn(3, 5), None, 2.0)


def test_objective_mixes_label_and_teacher_by_share() -> None:
    teacher, model = classifier(0).eval(), classifier(1).eval()
    read = Batch.read(model, (torch.randn(8, 6), torch.arange(8) % 3))

    def value(goal: Any, share: float = 0.3) -> float:
        return Objective(goal, None, teacher, temperature=2, share=share)(model, read).item()

    assert value("label+teacher") == pytest.approx(0.7 * value("label") + 0.3 * value("teacher"), rel=1e-6)


def test_objective_hands_the_whole_batch_to_the_users_loss() -> None:
    seen = []

    def own(outputs: Tensor, given: object) -> Tensor:
        seen.append(given)
        return outputs.sum()

    model = classifier().eval()
    given = (torch.randn(8, 6), torch.arange(8) % 3)
    read = Batch.read(model, given)
    for goal, default in (("label", own), (own, None)):
        Objective(goal, default, model)(model, read)
    assert [type(entry) for entry in seen] == [tuple, tuple]
    assert torch.equal(seen[0][1], given[1])


def test_batch_of_a_model_with_two_inputs_is_inputs() -> None:
    model = nn.Bilinear(3, 4, 2)
    left, right = torch.randn(5, 3), torch.randn(5, 4)
    assert Batch.read(model, (left, right)).targets is None
    assert Batch.read(model, ((left, right), torch.arange(5))).targets is not None
    assert Batch.read(model, (left, right)).run(model).shape == (5, 2)


def test_batch_refuses_what_forward_does_not_take() -> None:
    with pytest.raises(PenjingError, match="PJ310"):
        Batch.read(nn.Bilinear(3, 4, 2), torch.randn(5, 3))


def test_label_loss_smooths_towards_all_classes_alike() -> None:
    scores, targets = torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 4
    aim = np.full((7, 4), 0.2 / 4)
    aim[np.arange(7), targets.numpy()] += 0.8
    expected = -(aim * np.log(softmax(scores.numpy()))).sum(1).mean()
    assert label_loss(scores, batch(targets), 0.2).item() == pytest.approx(expected, rel=1e-12)


def test_teacher_loss_refuses_another_number_of_classes() -> None:
    with pytest.raises(PenjingError, match="PJ312"):
        teacher_loss(torch.randn(6, 3).requires_grad_(), torch.randn(6, 4), torch.arange(6) % 3, 2.0)
