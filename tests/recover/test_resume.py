"""Training that was killed goes on to the same weights, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from penjing.errors import PenjingError
from penjing.recover import Checkpoint, FineTune, RecoveryRecord, Saved, Situation
from tests.recover.models import Classifier, accuracy, classifier, clusters


class Killed(BaseException):
    """What stands for a signal: no `except Exception` catches it."""


class Memory(Checkpoint):
    """Keeps the bytes of the last that was written; kills after a given number of writes."""

    def __init__(self, kill: int = 0) -> None:
        self.kill, self.count = kill, 0
        self.kept: tuple[dict[str, Tensor], str] | None = None

    def read(self) -> Saved | None:
        return Saved(self.kept[0], json.loads(self.kept[1])) if self.kept else None

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        places = [tensor.untyped_storage().data_ptr() for tensor in tensors.values()]
        assert len(set(places)) == len(places), "a file of tensors holds each once"
        assert all(tensor.is_contiguous() for tensor in tensors.values())
        self.kept = {name: tensor.clone() for name, tensor in tensors.items()}, json.dumps(record)
        self.count += 1
        if self.count == self.kill:
            raise Killed


def shuffled(seed: int = 0, **options: Any) -> DataLoader[Any]:
    inputs, targets = (torch.cat(part) for part in zip(*clusters(4), strict=True))
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(inputs, targets), batch_size=32, shuffle=True, generator=generator)


def sampled() -> DataLoader[Any]:
    data = shuffled().dataset
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(5))  # type: ignore[arg-type]
    return DataLoader(data, batch_size=32, sampler=sampler)


def trained(checkpoint: Checkpoint, **options: Any) -> tuple[Classifier, RecoveryRecord]:
    torch.manual_seed(torch.seed())  # whatever the process has drawn before must not matter
    model = classifier(1)
    evaluate = options.pop("evaluate", None)
    step = FineTune(**{"epochs": 4, "train": shuffled(), "lr": 1e-2, **options})
    return model, step.apply(
        model, Situation(classifier(0), evaluate=evaluate, seed=3, checkpoint=checkpoint)
    )


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def noisy(model: nn.Module) -> float:
    """A metric that goes down in places, and draws random numbers."""
    return accuracy(model) + float(torch.rand(()))


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"evaluate": noisy, "ema": 0.9},
        {"optimizer": "sgd", "nesterov": True, "mixup": 0.3},
        {"train": sampled(), "evaluate": noisy, "patience": 2, "schedule": "linear"},
    ],
    ids=["adamw", "ema", "sgd and mixup", "sampler and patience"],
)
def test_fine_tune_goes_on_bit_for_bit_when_killed(options: dict[str, Any], epoch: int) -> None:
    whole, record = trained(Memory(), **options)
    memory = Memory(kill=epoch)
    if epoch < len(record.history):
        with pytest.raises(Killed):
            trained(memory, **options)
    continued, again = trained(memory, **options)
    assert same(whole, continued)
    assert [(e.epoch, e.loss, e.metric) for e in again.history] == [
        (e.epoch, e.loss, e.metric) for e in record.history
    ]
    assert again.notes == record.notes


def test_fine_tune_goes_on_with_the_state_of_the_optimizer() -> None:
    """The same without it is something else: the test above can fail."""
    memory = Memory(kill=2)
    with pytest.raises(Killed):
        trained(memory)
    assert memory.kept is not None
    tensors = {name: t for name, t in memory.kept[0].items() if not name.startswith("optimizer/")}
    assert len(tensors) < len(memory.kept[0])
    memory.kept = tensors, memory.kept[1]
    assert not same(trained(memory)[0], trained(Memory())[0])


def test_fine_tune_trains_no_more_when_it_had_ended() -> None:
    memory = Memory()
    whole, _ = trained(memory)
    count = memory.count

    class Unused:
        def __len__(self) -> int:
            return 4

        def __iter__(self) -> Any:
            raise AssertionError("not asked")

    again, _ = trained(memory, train=Unused())
    assert same(whole, again)
    assert memory.count == count


def test_fine_tune_continues_the_rollback_of_a_loss_that_was_nan() -> None:
    def options(seen: list[int]) -> dict[str, Any]:
        def loss(outputs: Tensor, batch: Any) -> Tensor:
            seen.append(1)
            value = nn.functional.cross_entropy(outputs, batch[1])
            return value * float("nan") if len(seen) == 6 else value

        return {"loss": loss}

    whole, record = trained(Memory(), **options([]))
    assert "half the learning rate" in record.notes[0]
    memory, seen = Memory(kill=3), list[int]()
    with pytest.raises(Killed):
        trained(memory, **options(seen))
    continued, again = trained(memory, **options(seen))
    assert same(whole, continued)
    assert again.notes == record.notes


def test_fine_tune_leaves_the_generators_of_a_loader_as_they_were() -> None:
    for loader in (shuffled(), sampled()):
        generators = [
            holder.generator
            for holder in (loader, loader.sampler)
            if isinstance(getattr(holder, "generator", None), torch.Generator)
        ]
        before = [generator.get_state() for generator in generators]
        assert before
        trained(Memory(), train=loader, epochs=1)
        assert all(torch.equal(g.get_state(), b) for g, b in zip(generators, before, strict=True))


def test_fine_tune_draws_anew_in_every_epoch() -> None:
    seen: list[Tensor] = []

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        seen.append(batch[0][0].clone())
        return nn.functional.cross_entropy(outputs, batch[1])

    trained(Memory(), loss=loss, epochs=2)
    assert not torch.equal(torch.stack(seen[:4]), torch.stack(seen[4:]))


@pytest.mark.parametrize("changed", [{"lr": 2e-2}, {"epochs": 5}, {"optimizer": "sgd"}], ids=str)
def test_fine_tune_refuses_the_progress_of_another_training(changed: dict[str, Any]) -> None:
    memory = Memory(kill=2)
    with pytest.raises(Killed):
        trained(memory)
    with pytest.raises(PenjingError, match="PJ318") as caught:
        trained(memory, **changed)
    assert next(iter(changed)) in caught.value.because


def test_fine_tune_refuses_the_progress_of_another_model() -> None:
    memory = Memory(kill=2)
    with pytest.raises(Killed):
        trained(memory)
    step = FineTune(epochs=4, train=shuffled(), lr=1e-2)
    with pytest.raises(PenjingError, match="other tensors"):
        step.apply(Classifier(hidden=8), Situation(classifier(), seed=3, checkpoint=memory))
