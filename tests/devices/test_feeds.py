from __future__ import annotations

import numpy as np
import torch

from penjing.devices.feeds import feeds, outputs, tensors
from penjing.network import Call

ONE, TWO, THREE = (torch.full((2, 2), float(number)) for number in (1, 2, 3))


def test_tensors_of_a_single_argument_are_called_input() -> None:
    assert list(tensors(Call((ONE,)))) == ["input"]


def test_tensors_of_several_arguments_are_numbered_by_their_position() -> None:
    assert list(tensors(Call((ONE, None, TWO)))) == ["input_0", "input_2"]


def test_tensors_under_keys_keep_their_names() -> None:
    call = Call(({"image": ONE, "deep": {"er": TWO}},), {"mask": THREE, "flag": True})
    assert list(tensors(call)) == ["image", "deep_er", "mask"]


def test_tensors_of_equal_keys_in_two_arguments_stay_apart() -> None:
    assert list(tensors(Call(({"x": ONE}, {"x": TWO})))) == ["input_0_x", "input_1_x"]


def test_tensors_of_a_named_pair_are_numbered() -> None:
    assert list(tensors(Call((), {"pair": (ONE, TWO)}))) == ["pair_0", "pair_1"]


def test_feeds_hold_the_values_in_order() -> None:
    assert [float(array[0, 0]) for array in feeds(Call((ONE, TWO), {"z": THREE})).values()] == [1.0, 2.0, 3.0]


def test_feeds_hold_bfloat16_as_float32() -> None:
    (array,) = feeds(Call((ONE.bfloat16(),))).values()
    assert array.dtype == np.float32


def test_outputs_are_named_alike() -> None:
    assert list(outputs(ONE)) == ["output"]
    assert list(outputs((ONE, TWO))) == ["output_0", "output_1"]
    assert list(outputs({"logits": ONE, "hidden": [TWO, THREE]})) == ["logits", "hidden_0", "hidden_1"]
