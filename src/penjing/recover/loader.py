"""The training data of one epoch: counted, seeded, and with a name to every failure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from penjing.errors import PenjingError
from penjing.network.seeding import seeded
from penjing.network.source import where


def length(train: Iterable[Any]) -> int:
    """How many batches a pass has; counted once where the data cannot say.

    Raises:
        PenjingError: PJ311, none; PJ316, the data fail while they are counted.
    """
    try:
        count = len(train) if isinstance(train, Sized) else None
    except TypeError:  # a DataLoader over an IterableDataset is Sized, and has no length
        count = None
    if count is None:
        count = sum(1 for _ in given(train, 1))
    if not count:
        raise PenjingError("PJ311", "there is nothing to train on: `train` gives no batches")
    return count


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch: it follows from nothing else, so that a training can begin at any of them."""
    return random.Random(f"{seed}/{epoch}").getrandbits(63)


@contextmanager
def seeded_epoch(train: Iterable[Any], seed: int, epoch: int) -> Iterator[None]:
    """Inside, all that is drawn at random follows from `seed` and `epoch`; outside, nothing has changed.

    That includes the generators that a `DataLoader` and its samplers were given. Workers that outlive an
    epoch (`persistent_workers=True`) keep random states of their own, which nobody else can set.
    """
    number = epoch_seed(seed, epoch)
    loaders = _samplers(train)
    for sampler in loaders:
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(epoch)
    found = [getattr(holder, "generator", None) for holder in loaders]
    generators = {id(g): g for g in found if isinstance(g, torch.Generator)}.values()
    states = [generator.get_state() for generator in generators]
    try:
        with seeded(number):
            for place, generator in enumerate(generators):
                generator.manual_seed(epoch_seed(number, place))
            yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _samplers(train: Iterable[Any]) -> list[Any]:
    """A loader and whatever it takes its order from."""
    if not isinstance(train, DataLoader):
        return []
    return [train, train.sampler, train.batch_sampler, getattr(train.batch_sampler, "sampler", None)]


def given(train: Iterable[Any], epoch: int) -> Iterator[Any]:
    """The batches of a pass.

    Raises:
        PenjingError: PJ316, the data fail, with the epoch and the batch; PJ311, they give none.
    """
    count = 0
    try:
        batches = iter(train)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                break
            yield batch
            count += 1
    except PenjingError:
        raise
    except Exception as error:  # the loader is the user's: whatever it raises is reported with its place
        raise PenjingError(
            "PJ316",
            f"the training data fail at batch {count} of epoch {epoch}",
            because=f"{type(error).__name__}: {error}",
            path=where(error),
            tries=["mend the data; a run with a directory goes on from the last epoch that was finished"],
        ) from error
    if not count:
        raise PenjingError("PJ311", f"`train` gives no batches in epoch {epoch}")
