"""The loop: run directories, measure and adjust, save and load."""

from penjing.run.directory import check_target, publish
from penjing.run.job import Job, Outcome
from penjing.run.load import FORMS, export_from, load, read_report
from penjing.run.loop import run
from penjing.run.profile import profile

__all__ = [
    "FORMS",
    "Job",
    "Outcome",
    "check_target",
    "export_from",
    "load",
    "profile",
    "publish",
    "read_report",
    "run",
]
