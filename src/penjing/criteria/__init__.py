"""What a unit is worth: pure functions on tensors, and the statistics they need."""

from penjing.criteria.activity import Activity
from penjing.criteria.apoz import Apoz
from penjing.criteria.combine import NORMALISATIONS, Aggregate, Normalise
from penjing.criteria.correlation import Correlation
from penjing.criteria.criterion import Criterion, Record, UnitCriterion, WeightCriterion
from penjing.criteria.entropy import Entropy
from penjing.criteria.hrank import HRank
from penjing.criteria.information import Information
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
    "Activity",
    "Aggregate",
    "Apoz",
    "Correlation",
    "Criterion",
    "Entropy",
    "HRank",
    "Information",
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
