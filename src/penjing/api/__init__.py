"""The few verbs a user calls."""

from penjing.api.comparison import Comparison, compare_criteria
from penjing.api.curves import FRACTIONS, Sensitivity, sensitivity
from penjing.api.profile import profile
from penjing.api.prune import Result, prune
from penjing.api.resume import resume
from penjing.api.source import load_task
from penjing.api.sparsify import Sparsified, sparsify
from penjing.api.task import Task
from penjing.network import trace
from penjing.run import load

__all__ = [
    "FRACTIONS",
    "Comparison",
    "Result",
    "Sensitivity",
    "Sparsified",
    "Task",
    "compare_criteria",
    "load",
    "load_task",
    "profile",
    "prune",
    "resume",
    "sensitivity",
    "sparsify",
    "trace",
]
