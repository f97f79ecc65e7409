"""From a model to its operator graph, its tensors and its axes."""

from penjing.network.axis import Axis, Member
from penjing.network.branches import Branch
from penjing.network.call import Call
from penjing.network.network import Network, trace
from penjing.network.operator import Operator, TensorRef
from penjing.network.rules import RULES

__all__ = ["RULES", "Axis", "Branch", "Call", "Member", "Network", "Operator", "TensorRef", "trace"]
