"""What a unit is worth: pure functions on tensors, and the statistics they need."""

from penjing.criteria.combine import NORMALISATIONS, Aggregate, Normalise
from penjing.criteria.criterion import Criterion, Record, UnitCriterion, WeightCriterion
from penjing.criteria.magnitude import Magnitude
from penjing.criteria.obs import Obs
from penjing.criteria.random import Random
from penjing.criteria.scoring import score
from penjing.criteria.statistics import Loss, Need, Statistics, collect
from penjing.criteria.table import CRITERIA, get
from penjing.criteria.taylor import Taylor

__all__ = [
    "CRITERIA",
    "NORMALISATIONS",
    "Aggregate",
    "Criterion",
    "Loss",
    "Magnitude",
    "Need",
    "Normalise",
    "Obs",
    "Random",
    "Record",
    "Statistics",
    "Taylor",
    "UnitCriterion",
    "WeightCriterion",
    "collect",
    "get",
    "score",
]
