"""What a run found, drawn from its records; nothing is computed again."""

from penjing.report.record import (
    AxisLine,
    BudgetLine,
    CandidateLine,
    DeviceFigures,
    ExportLine,
    Figures,
    MetricOf,
    ProofLine,
    Report,
    RoundLine,
)
from penjing.report.text import draw, figures

__all__ = [
    "AxisLine",
    "BudgetLine",
    "CandidateLine",
    "DeviceFigures",
    "ExportLine",
    "Figures",
    "MetricOf",
    "ProofLine",
    "Report",
    "RoundLine",
    "draw",
    "figures",
]
