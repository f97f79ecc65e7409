from __future__ import annotations

import ast
import doctest
import inspect
import json
import pickle
import re
from pathlib import Path

import pytest

from penjing import errors
from penjing.errors import PenjingError

ROOT = Path(__file__).parents[1]
CODE = re.compile(r"PJ[0-9]{3}")


def full() -> PenjingError:
    return PenjingError(
        "PJ203",
        "cannot cut `layer3.0.conv2` (256 output channels)",
        because="`reshape_7` turns (n, 256, 7, 7) into (n, 896, 14): channels are no longer separable",
        path="layer3.0.conv2 -> bn2 -> add_5 -> reshape_7",
        tries=['leave it out: keep=["layer3.0.conv2"]', "teach the operator: docs/how-to/add-a-rule.md"],
    )


def test_error_renders_what_because_path_and_every_try() -> None:
    assert str(full()) == (
        "[PJ203] cannot cut `layer3.0.conv2` (256 output channels)\n"
        "  because  `reshape_7` turns (n, 256, 7, 7) into (n, 896, 14): channels are no longer separable\n"
        "  path     layer3.0.conv2 -> bn2 -> add_5 -> reshape_7\n"
        '  try      leave it out: keep=["layer3.0.conv2"]\n'
        "  try      teach the operator: docs/how-to/add-a-rule.md"
    )


def test_error_renders_one_line_when_nothing_but_what_is_known() -> None:
    assert str(PenjingError("PJ101", "no inputs")) == "[PJ101] no inputs"


def test_error_aligns_the_further_lines_of_a_part() -> None:
    error = PenjingError("PJ101", "no inputs", because="first\nsecond")
    assert str(error).splitlines()[1:] == ["  because  first", "           second"]


def test_error_keeps_its_parts_apart_from_the_text() -> None:
    error = full()
    assert (error.code, error.path) == ("PJ203", "layer3.0.conv2 -> bn2 -> add_5 -> reshape_7")
    assert error.tries[1] == "teach the operator: docs/how-to/add-a-rule.md"


def test_error_record_survives_json() -> None:
    record = json.loads(json.dumps(full().record()))
    assert str(PenjingError(**record)) == str(full())


def test_error_crosses_process_borders_whole() -> None:
    assert pickle.loads(pickle.dumps(full())).record() == full().record()


@pytest.mark.parametrize("code", ["PJ003", "PJ903", "PJ20", "PJ2031", "XX203", "pj203", ""])
def test_error_refuses_a_code_outside_the_scheme(code: str) -> None:
    with pytest.raises(AssertionError, match="no error code"):
        PenjingError(code, "something")


def test_error_refuses_one_string_for_its_tries() -> None:
    with pytest.raises(AssertionError, match="not one string"):
        PenjingError("PJ101", "something", tries="letters")


def test_error_docstring_example_is_true() -> None:
    outcome = doctest.testmod(errors)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def documented() -> list[str]:
    reference = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    return re.findall(r"^\| (PJ[0-9]{3}) \|", reference, flags=re.MULTILINE)


def raised() -> set[str]:
    """Every string of the package, docstrings and texts aside, that is a code and nothing else."""
    package = Path(inspect.getfile(errors)).parent
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in package.rglob("*.py")]
    strings = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {value for value in strings if isinstance(value, str) and CODE.fullmatch(value)}


def test_error_reference_lists_every_code_that_the_package_raises() -> None:
    missing = raised() - set(documented())
    assert not missing, f"add to docs/reference/errors.md: {sorted(missing)}"


def test_error_reference_lists_no_code_that_nothing_raises() -> None:
    stale = set(documented()) - raised()
    assert not stale, f"remove from docs/reference/errors.md: {sorted(stale)}"


def test_error_reference_lists_codes_once_and_in_order() -> None:
    codes = documented()
    assert codes == sorted(set(codes))
