"""What a unit is worth: pure functions on tensors, and the statistics they need."""

from penjing.criteria.activity import Activity
from penjing.criteria.apoz import Apoz
from penjing.criteria.bn_scale import BnScale
from penjing.criteria.combine import NORMALISATIONS, Aggregate, Normalise
from penjing.criteria.combined import Combined
from penjing.criteria.correlation import Correlation
from penjing.criteria.criterion import Criterion, NetworkCriterion, Record, UnitCriterion, WeightCriterion
from penjing.criteria.curvature import Curvature
from penjing.criteria.custom import Custom
from penjing.criteria.derivatives import takes_loss
from penjing.criteria.entropy import Entropy
from penjing.criteria.fisher import Fisher
from penjing.criteria.geometric_median import GeometricMedian
from penjing.criteria.gradient import Gradient
from penjing.criteria.hrank import HRank
from penjing.criteria.information import Information
from penjing.criteria.lamp import Lamp
from penjing.criteria.magnitude import Magnitude
from penjing.criteria.movement import Movement
from penjing.criteria.obd import Obd
from penjing.criteria.obs import Obs
from penjing.criteria.random import Random
from penjing.criteria.scoring import score
from penjing.criteria.snip import Snip
from penjing.criteria.statistics import Loss, Need, Statistics, collect
from penjing.criteria.table import CRITERIA, get
from penjing.criteria.taylor import Taylor
from penjing.criteria.taylor_squared import TaylorSquared

__all__ = [
    "CRITERIA",
    "NORMALISATIONS",
    "Activity",
    "Aggregate",
    "Apoz",
    "BnScale",
    "Combined",
    "Correlation",
    "Criterion",
    "Curvature",
    "Custom",
    "Entropy",
    "Fisher",
    "GeometricMedian",
    "Gradient",
    "HRank",
    "Information",
    "Lamp",
    "Loss",
    "Magnitude",
    "Movement",
    "Need",
    "NetworkCriterion",
    "Normalise",
    "Obd",
    "Obs",
    "Random",
    "Record",
    "Snip",
    "Statistics",
    "Taylor",
    "TaylorSquared",
    "UnitCriterion",
    "WeightCriterion",
    "collect",
    "get",
    "score",
    "takes_loss",
]
