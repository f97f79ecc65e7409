"""What is to be done, as data: budgets, allocators, plans."""

from penjing.plan.allocate import Allocation, Allocator, allocate, uniform
from penjing.plan.budget import QUANTITIES, Amount, Bound, Budget
from penjing.plan.choices import FLOOR, Steps, Wishes, check_wishes
from penjing.plan.costs import Affine, Cost, Plain, Summed, Term, macs, operators, parameters
from penjing.plan.peak import Peak
from penjing.plan.plan import AxisChange, Plan, PlanDiff

__all__ = [
    "FLOOR",
    "QUANTITIES",
    "Affine",
    "Allocation",
    "Allocator",
    "Amount",
    "AxisChange",
    "Bound",
    "Budget",
    "Cost",
    "Peak",
    "Plain",
    "Plan",
    "PlanDiff",
    "Steps",
    "Summed",
    "Term",
    "Wishes",
    "allocate",
    "check_wishes",
    "macs",
    "operators",
    "parameters",
    "uniform",
]
