"""Kits for those who extend penjing: does this rule, or this device, tell the truth?"""

from penjing.testing.device import DeviceConformance, DeviceFailure, check_device
from penjing.testing.rule import Conformance, RuleFailure, check_rule

__all__ = [
    "Conformance",
    "DeviceConformance",
    "DeviceFailure",
    "RuleFailure",
    "check_device",
    "check_rule",
]
