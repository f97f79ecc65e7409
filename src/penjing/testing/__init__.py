"""Kits for those who extend penjing: does this rule tell the truth about its operator?"""

from penjing.testing.rule import Conformance, RuleFailure, check_rule

__all__ = ["Conformance", "RuleFailure", "check_rule"]
