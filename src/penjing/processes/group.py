"""The processes of this job: found in the environment or in torch.distributed, and met at a board."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import distributed

from penjing.processes.board import Board

_TOLD_BY_LAUNCHERS: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Group:
    """Several processes.

    Attributes:
        rank: of this one, from 0.
        world: how many there are.
        gloo: torch's process group for tensors in main memory.
        board: where they tell one another that they live, have come, or have failed.
    """

    rank: int
    world: int
    gloo: Any
    board: Board


def group() -> Group | None:
    """The processes of this job, joined at the first call; None where there is only this one."""
    if not distributed.is_available():
        return None
    if not distributed.is_initialized():
        if _group.cache_info().currsize:
            _group.cache_clear()
        if not _launched(os.environ):
            return None
        devices = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(devices)
        atexit.register(_leave)
    return _group() if distributed.get_world_size() > 1 else None


def rank() -> int:
    """The number of this process, from 0."""
    found = group()
    return found.rank if found else 0


def world() -> int:
    """How many processes there are."""
    found = group()
    return found.world if found else 1


def is_first() -> bool:
    """Whether this is the process that measures, decides and writes; where there is one, it is."""
    return rank() == 0


@cache
def _group() -> Group:
    own, count = distributed.get_rank(), distributed.get_world_size()
    gloo = distributed.new_group(backend="gloo")
    return Group(own, count, gloo, Board.meet(own, count, gloo))


def _launched(environment: Mapping[str, str]) -> bool:
    """Whether a launcher has started this process as one of several."""
    told = all(name in environment for name in _TOLD_BY_LAUNCHERS)
    return told and int(environment["WORLD_SIZE"]) > 1


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
