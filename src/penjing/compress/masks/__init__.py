"""Masks: which single weights, groups or blocks of weights go, when, and what keeps them away."""

from penjing.compress.masks.block import Block, Columns, Kernels, Rows
from penjing.compress.masks.chance import RandomWeights
from penjing.compress.masks.choose import Chosen, Unsuited, choose
from penjing.compress.masks.compensate import SparseGPT, compensate, goals, readable
from penjing.compress.masks.dynamic import SET, Dynamic, RigL
from penjing.compress.masks.erk import ERK, erk
from penjing.compress.masks.gradual import Gradual
from penjing.compress.masks.held import held
from penjing.compress.masks.masks import MaskCount, Masks
from penjing.compress.masks.module import Masked, apply, bake, masks_of, named, objection, strip, zero
from penjing.compress.masks.named import PATTERNS, pattern_named
from penjing.compress.masks.nm import NM
from penjing.compress.masks.obs import Goal, sparsegpt
from penjing.compress.masks.pattern import Pattern, Unstructured
from penjing.compress.masks.record import MasksRecord, WeightRecord
from penjing.compress.masks.rewind import rewind
from penjing.compress.masks.rule import Layer, Rule
from penjing.compress.masks.schedule import Cubic, Exponential, Iterative, Multistep, OneShot, Schedule
from penjing.compress.masks.share import KeepTop, Sparsity
from penjing.compress.masks.splice import Surgery
from penjing.compress.masks.threshold import Below, BelowMaxOver, BelowMean
from penjing.compress.masks.wanda import Wanda, wanda
from penjing.compress.masks.weights import Weight, weights

__all__ = [
    "ERK",
    "NM",
    "PATTERNS",
    "SET",
    "Below",
    "BelowMaxOver",
    "BelowMean",
    "Block",
    "Chosen",
    "Columns",
    "Cubic",
    "Dynamic",
    "Exponential",
    "Goal",
    "Gradual",
    "Iterative",
    "KeepTop",
    "Kernels",
    "Layer",
    "MaskCount",
    "Masked",
    "Masks",
    "MasksRecord",
    "Multistep",
    "OneShot",
    "Pattern",
    "RandomWeights",
    "RigL",
    "Rows",
    "Rule",
    "Schedule",
    "SparseGPT",
    "Sparsity",
    "Surgery",
    "Unstructured",
    "Unsuited",
    "Wanda",
    "Weight",
    "WeightRecord",
    "apply",
    "bake",
    "choose",
    "compensate",
    "erk",
    "goals",
    "held",
    "masks_of",
    "named",
    "objection",
    "pattern_named",
    "readable",
    "rewind",
    "sparsegpt",
    "strip",
    "wanda",
    "weights",
    "zero",
]
