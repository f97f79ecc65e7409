from __future__ import annotations

import tomllib
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import penjing as pj
from penjing import recover
from penjing.recover import RecoveryRecord, Situation, Step
from penjing.run.job import Job
from penjing.run.recipe import METHODS, _step, options_of, read_recipe, recipe_of, to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT)
VALUE = st.one_of(PLAIN, st.lists(PLAIN), st.dictionaries(TEXT, PLAIN))
TABLE = st.dictionaries(TEXT, VALUE)


@given(st.dictionaries(TEXT, st.one_of(VALUE, TABLE)))
def test_recipe_survives_toml(values: dict[str, Any]) -> None:
    written = {name: value for name, value in values.items() if value != {}}
    assert tomllib.loads(to_toml(written)) == written


def test_recipe_is_readable() -> None:
    values = {"model": "task.py:task", "budget": ["latency=0.5x"], "seed": 0, "keep": None,
              "recover": {"epochs": 3, "lr": 0.001}}  # fmt: skip
    assert to_toml(values) == (
        'model = "task.py:task"\nbudget = ["latency=0.5x"]\nseed = 0\n\n[recover]\nepochs = 3\nlr = 0.001\n'
    )


def job(*steps: Step, **options: Any) -> Job:
    """A job whose recipe is looked at; its model does not matter."""
    given: dict[str, Any] = {
        "model": nn.Linear(2, 2), "example_inputs": torch.zeros(1, 2), "budget": pj.Budget.parse("macs=0.5x"),
        "device": pj.devices.get("macs"), "criterion": pj.criteria.Magnitude(), "aggregate": "max",
        "normalise": "none", "why": "", "data": None, "loss": None, "evaluate": None, "recover": steps,
        "keep": ["a*"], "only": None, "exact": {"b": 0.25, "c": 3, "d": 1.0}, "seed": 7,
        "source": "a.py:task",
    }  # fmt: skip
    return Job(**{**given, **options})


TRAIN = [(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long))]


def test_a_job_that_is_built_from_its_recipe_has_the_same_recipe(tmp_path: Path) -> None:
    steps = [pj.BatchNorm(), pj.FineTune(epochs=3, train=TRAIN, clip=None, features=["a", "b"], seed=4)]
    given = job(*steps)
    (tmp_path / "recipe.toml").write_text(recipe_of(given))
    read = read_recipe(tmp_path / "recipe.toml")
    assert read.steps(TRAIN) == steps
    assert (read.model, read.budget, read.seed, read.keep) == ("a.py:task", "macs=0.5x", 7, ("a*",))
    assert (read.aggregate, read.normalise, read.only) == ("max", "none", None)
    assert {name: (type(kept), kept) for name, kept in read.exact.items()} == {
        "b": (float, 0.25), "c": (int, 3), "d": (float, 1.0),
    }  # fmt: skip
    assert recipe_of(job(*read.steps(TRAIN))) == recipe_of(given)


@pytest.mark.parametrize("between", [None, (), (pj.BatchNorm(), pj.FineTune(epochs=1, train=TRAIN))])
def test_rounds_and_floor_are_built_from_the_recipe(tmp_path: Path, between: Any) -> None:
    schedule = pj.Iterative(rounds=3, spacing="cubic", recover=between, shrink=0.7, bisections=0)
    given = job(pj.BatchNorm(), schedule=schedule, budget=pj.Budget(macs="0.5x", metric="0.99x"))
    (tmp_path / "recipe.toml").write_text(recipe_of(given))
    read = read_recipe(tmp_path / "recipe.toml")
    assert read.rounds(TRAIN) == schedule
    assert pj.Budget.parse(read.budget) == given.budget
    rebuilt = job(pj.BatchNorm(), schedule=read.rounds(TRAIN), budget=pj.Budget.parse(read.budget))
    assert recipe_of(rebuilt) == recipe_of(given)
    assert read_recipe_without_schedule(tmp_path) is None


def read_recipe_without_schedule(folder: Path) -> pj.Iterative | None:
    (folder / "plain.toml").write_text(recipe_of(job()))
    return read_recipe(folder / "plain.toml").rounds(None)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ("rounds = 0", "PJ515", "rounds"),
        ('rounds = "many"', "PJ515", "rounds"),
        ('shrink = "a lot"', "PJ515", "shrink"),
        ("odd = 1", "PJ606", "odd"),
        ("recover = 3", "PJ606", "no list of steps"),
        ('recover = [{ method = "Nothing" }]', "PJ606", "BatchNorm"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_refused(
    tmp_path: Path, options: str, code: str, says: str
) -> None:
    (tmp_path / "recipe.toml").write_text(f'model = "a"\nbudget = "macs=1x"\n[schedule]\n{options}\n')
    with pytest.raises(pj.PenjingError) as caught:
        read_recipe(tmp_path / "recipe.toml").rounds(TRAIN)
    assert caught.value.code == code
    assert says in str(caught.value)


def test_every_public_step_can_stand_in_a_recipe() -> None:
    steps = {name for name, kind in vars(recover).items() if isinstance(kind, type) and name in METHODS}
    assert {"BatchNorm", "FineTune"} <= steps == set(METHODS)
    assert all(is_dataclass(kind) for kind in METHODS.values())


def test_a_step_of_the_users_own_stands_in_the_recipe_by_its_name(tmp_path: Path) -> None:
    class Own(Step):
        def apply(self, model: nn.Module, situation: Any) -> Any: ...

    tuned = pj.FineTune(epochs=1, train=TRAIN, loss=nn.functional.mse_loss)
    (tmp_path / "recipe.toml").write_text(recipe_of(job(Own(), tuned)))
    read = read_recipe(tmp_path / "recipe.toml")
    assert [step["method"] for step in read.recover] == ["Own", "FineTune"]
    assert read.recover[1]["loss"] == "mse_loss"
    with pytest.raises(pj.PenjingError, match=r"PJ606.*Own"):
        read.steps(TRAIN)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ("model =", "PJ606", "no recipe"),
        ('model = "a.py:task"\n', "PJ606", "budget"),
        ('model = "a"\nbudget = "macs=1x"\nodd = 1\n', "PJ606", "odd"),
        ('model = "a"\nbudget = "macs=1x"\nrecover = [{ method = "FineTune", odd = 1 }]\n', "PJ606", "odd"),
        ('model = "a"\nbudget = "macs=1x"\nrecover = [{ method = "FineTune" }]\n', "PJ606", "epochs"),
        ('model = "a"\nbudget = "macs=1x"\nrecover = [{ method = "Nothing" }]\n', "PJ606", "BatchNorm"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path, content: str, code: str, says: str) -> None:
    (tmp_path / "recipe.toml").write_text(content)
    with pytest.raises(pj.PenjingError) as caught:
        read_recipe(tmp_path / "recipe.toml").steps(TRAIN)
    assert caught.value.code == code
    assert says in str(caught.value)


def test_a_recipe_that_trains_needs_data(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(recipe_of(job(pj.FineTune(epochs=1, train=TRAIN))))
    with pytest.raises(pj.PenjingError, match="PJ311"):
        read_recipe(tmp_path / "recipe.toml").steps(None)


@dataclass(frozen=True)
class Odd(Step):
    """A step with options of every kind that TOML has no word for."""

    train: Any
    function: Any
    partly: Any
    options: Any
    names: Any = None

    def apply(self, model: nn.Module, situation: Situation) -> RecoveryRecord:
        raise AssertionError("not asked")


def test_recipe_names_what_toml_cannot_say() -> None:
    step = Odd(
        [1], print, partial(print, 1), {"max_epochs": 3, "callbacks": [object()], "no": None}, ("a", 1)
    )
    table = _step(step)
    assert tomllib.loads(to_toml({"recover": [table]}))["recover"] == [
        {
            "method": "Odd",
            "function": "print",
            "partly": "partial",
            "options": {"max_epochs": 3, "callbacks": ["object"]},
            "names": ["a", 1],
        }
    ]


@pytest.mark.parametrize(
    "step",
    [
        pj.FineTune(epochs=1, train=[], features=["a.*"]),
        pj.Loop(lambda model, original: None),
        pj.Lightning(None, [], {"max_epochs": 1}),
        pj.HuggingFace(lambda model, original: None),
    ],
    ids=lambda step: type(step).__name__,
)
def test_recipe_knows_every_step(step: Step) -> None:
    assert tomllib.loads(to_toml({"recover": [_step(step)]}))["recover"][0]["method"] == type(step).__name__


def test_options_of_a_criterion_have_those_of_criteria_inside() -> None:
    both = pj.criteria.Combined(((pj.criteria.Magnitude(1), 0.5), ("taylor", 0.5)))
    assert options_of(both) == {"parts": [[{"criterion": "magnitude", "p": 1}, 0.5], ["taylor", 0.5]]}
