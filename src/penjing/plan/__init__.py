"""What is to be done, as data: budgets, allocators, plans."""

from penjing.plan.allocate import Allocation, Allocator, Judged, allocate, uniform
from penjing.plan.budget import QUANTITIES, Amount, Bound, Budget
from penjing.plan.choices import FLOOR, Steps, Wishes, check_wishes
from penjing.plan.costs import Affine, Cost, Plain, Summed, Term, macs, operators, parameters
from penjing.plan.depth import counts_of, inside, switched_off
from penjing.plan.floor import METRIC, Floor
from penjing.plan.peak import Peak
from penjing.plan.plan import AxisChange, Plan, PlanDiff
from penjing.plan.schedule import SPACINGS, Spacing, spaced

__all__ = [
    "FLOOR",
    "METRIC",
    "QUANTITIES",
    "SPACINGS",
    "Affine",
    "Allocation",
    "Allocator",
    "Amount",
    "AxisChange",
    "Bound",
    "Budget",
    "Cost",
    "Floor",
    "Judged",
    "Peak",
    "Plain",
    "Plan",
    "PlanDiff",
    "Spacing",
    "Steps",
    "Summed",
    "Term",
    "Wishes",
    "allocate",
    "check_wishes",
    "counts_of",
    "inside",
    "macs",
    "operators",
    "parameters",
    "spaced",
    "switched_off",
    "uniform",
]
