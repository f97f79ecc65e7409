from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from penjing.network.batch import Batch
from penjing.recover.average import Average
from penjing.recover.losses import label_loss
from penjing.recover.mixing import mixed, spoiled
from penjing.recover.objective import Objective
from tests.recover.models import classifier, clusters


def test_mixup_blends_each_sample_with_one_other() -> None:
    torch.manual_seed(0)
    x, y = torch.eye(6).repeat(2, 1), torch.arange(12) % 3
    model = classifier()
    (first, one), (second, other) = mixed(model, Batch.read(model, (x, y)), 0.4)
    assert first + second == pytest.approx(1)
    assert 0 < first < 1
    assert one.given[0] is other.given[0]
    blended: Tensor = one.given[0]
    torch.testing.assert_close(blended.sum(1), torch.ones(12))
    torch.testing.assert_close(
        blended.gather(1, (torch.arange(12) % 6)[:, None])[:, 0].min(), torch.tensor(first)
    )
    rest = blended - first * x
    torch.testing.assert_close(rest.max(1).values, torch.full((12,), second))
    assert torch.equal(one.targets, y)
    assert torch.equal(other.targets, y[rest.argmax(1)]), "targets go where their inputs went"


def test_mixup_mixes_any_loss_by_the_same_share() -> None:
    """For cross-entropy, mixing losses is mixing labels: Zhang et al., section 2."""
    model = classifier().eval()
    batch = Batch.read(model, clusters(1, 16)[0])
    torch.manual_seed(4)
    found = Objective("label", None, model, mixup=1.0)(model, batch)
    torch.manual_seed(4)
    (share, one), (_, other) = mixed(model, batch, 1.0)
    labels = share * nn.functional.one_hot(one.targets, 3) + (1 - share) * nn.functional.one_hot(
        other.targets, 3
    )
    expected = nn.functional.cross_entropy(one.run(model), labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.item() != pytest.approx(label_loss(batch.run(model), batch).item(), rel=1e-3)


def test_mixup_mixes_inputs_alone_where_there_are_no_targets() -> None:
    model = classifier()
    x = clusters(1, 16)[0][0]
    ((share, batch),) = mixed(model, Batch.read(model, x), 0.4)
    assert share == 1
    assert not torch.equal(batch.given, x)


def test_average_follows_its_recurrence() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, 0.3)
    expected, values = 1.0, [2.0, 5.0, -1.0, 4.0]
    for step, value in enumerate(values):
        with torch.no_grad():
            model.weight.fill_(value)
            model.num_batches_tracked.fill_(step)
        average.update(model)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.weights["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert average.weights["num_batches_tracked"].item() == 3
    assert average.weights["bias"].item() == 0


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (torch.zeros(3), ""),
        ((torch.zeros(2, 2), torch.arange(2)), ""),
        (torch.full((2, 2), float("-inf")), ""),
        (torch.tensor(float("nan")), "shape () holds NaN"),
        ({"a": torch.zeros(2, 2), "b": torch.tensor([[0, 1], [float("nan"), 0]])}, "in samples 1"),
    ],
    ids=str,
)
def test_spoiled_names_samples(batch: object, says: str) -> None:
    found = spoiled(batch)
    assert says in found
    assert bool(found) == bool(says)
