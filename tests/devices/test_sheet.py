from __future__ import annotations

from pathlib import Path

import pytest

from penjing.devices import DEVICES, Roofline, get, read_sheet
from penjing.devices.roofline import SHEETS
from penjing.errors import PenjingError

WHOLE = """
name = "mine"
summary = "a board"
source = "its data sheet"
error = 0.3
precision = "int8"
[compute]
gmacs_per_s = 2
[memory]
gb_per_s = 1
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_sheet_of_ten_lines_is_a_device(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    device = get(str(path))
    assert isinstance(device, Roofline)
    assert (device.name, device.spec) == ("mine", str(path))
    assert device.sheet == read_sheet(path)
    assert device.record()["compute"] == {"gmacs_per_s": 2.0, "efficiency": 1.0}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gmacs_per_s = 2", "", "`compute.gmacs_per_s` is missing"),
        (
            "gmacs_per_s = 2",
            "gmacs_per_s = -2",
            "`compute.gmacs_per_s` is -2: input should be greater than 0",
        ),
        ("gmacs_per_s = 2", "gmacs_per_s = nan", "`compute.gmacs_per_s`"),
        ("gb_per_s = 1", "gb_per_s = 1\ncache_gb_per_sec = 2", "did you mean `cache_gb_per_s`?"),
        ("gb_per_s = 1", "gb_per_s = 1\ncache_kb = 8", "`memory.cache_gb_per_s` is missing"),
        ("error = 0.3", "", "`error` is missing"),
        ("error = 0.3", "error = 0", "`error` is 0"),
        ("[memory]\ngb_per_s = 1", "", "`memory` is missing"),
        ('name = "mine"', 'name = "My board"', "`name` is 'My board'"),
        ('precision = "int8"', 'precision = "int3"', "`precision` is 'int3'"),
        ('summary = "a board"', "summary = a board", "line 3"),
        ("[memory]", "[memory]\n[power]\nwatts = 1\n[memory]", ""),
    ],
)
def test_sheet_with_a_wrong_figure_is_refused_by_its_name(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in WHOLE
    with pytest.raises(PenjingError, match="is no device sheet") as caught:
        get(str(written(tmp_path, WHOLE.replace(old, new))))
    assert caught.value.code == "PJ410"
    assert said in caught.value.because


def test_missing_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PenjingError) as caught:
        get(str(tmp_path / "none.toml"))
    assert caught.value.code == "PJ410"


def test_every_sheet_that_comes_along_is_a_device_of_its_name() -> None:
    names = {path.stem for path in SHEETS.glob("*.toml")}
    assert names == {name for name in DEVICES if type(get_or_none(name)) is Roofline}
    for name in names:
        sheet = read_sheet(SHEETS / f"{name}.toml")
        assert sheet.name == name
        assert sheet.source


def get_or_none(name: str) -> object:
    try:
        return get(name)
    except PenjingError:
        return None
