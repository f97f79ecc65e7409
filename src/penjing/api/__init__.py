"""The few verbs a user calls."""

from penjing.api.profile import profile
from penjing.api.prune import Result, prune
from penjing.api.resume import resume
from penjing.api.source import load_task
from penjing.api.sparsify import Sparsified, sparsify
from penjing.api.task import Task
from penjing.network import trace
from penjing.run import load

__all__ = [
    "Result",
    "Sparsified",
    "Task",
    "load",
    "load_task",
    "profile",
    "prune",
    "resume",
    "sparsify",
    "trace",
]
