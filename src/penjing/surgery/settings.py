"""A config as what it says: changed settings, and the modules that hold it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import nn

from penjing.surgery.watch import is_settings

SettingsPath = tuple[str, ...]
SettingsChange = list[tuple[SettingsPath, Any]]


@dataclass(frozen=True)
class Settings:
    """How a config says what a cut model is.

    Attributes:
        changed: (path of the setting, new value).
        sizes: (module path, attribute path, value) of sizes that follow and no operator reads.
    """

    changed: SettingsChange
    sizes: list[tuple[str, list[str], Any]]


def rebuilds_from_config(model: nn.Module) -> bool:
    """Whether the model's class is built from one config and loads itself (a Hugging Face model)."""
    return hasattr(type(model), "from_pretrained") and is_settings(vars(model).get("config"))


def with_settings(config: Any, changed: SettingsChange, memo: dict[int, Any] | None = None) -> Any:
    """A copy of `config` with some settings changed, nested ones by path; `memo` maps old parts to new."""
    fresh = deepcopy(config, memo)
    for path, value in changed:
        holder = vars(fresh)
        for part in path[:-1]:
            holder = vars(holder[part])
        old = holder.get(path[-1])
        holder[path[-1]] = type(old)(value) if isinstance(old, list | tuple) else value
    return fresh


def give_settings(model: nn.Module, changed: SettingsChange) -> None:
    """Replaces the config, and every part of it that a module holds, by one with the settings changed."""
    memo: dict[int, Any] = {}
    vars(model)["config"] = with_settings(vars(model)["config"], changed, memo)
    for module in model.modules():
        for name, value in vars(module).items():
            if id(value) in memo and is_settings(value):
                vars(module)[name] = memo[id(value)]
