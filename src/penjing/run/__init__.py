"""The loop: run directories, measure and adjust, save and load."""

from penjing.run.beginning import begun
from penjing.run.directory import check_target, is_finished, is_unfinished, publish
from penjing.run.iterative import Iterative
from penjing.run.job import Job, Outcome
from penjing.run.load import FORMS, export_from, load, read_report
from penjing.run.loop import run
from penjing.run.profile import profile
from penjing.run.trackers import MLflow, TensorBoard, Tracker

__all__ = [
    "FORMS",
    "Iterative",
    "Job",
    "MLflow",
    "Outcome",
    "TensorBoard",
    "Tracker",
    "begun",
    "check_target",
    "export_from",
    "is_finished",
    "is_unfinished",
    "load",
    "profile",
    "publish",
    "read_report",
    "run",
]
