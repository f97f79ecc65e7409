"""Ridge regression on streamed moments, against numpy on the rows themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from penjing.recover.reconstruction.regression import Moments, fit


def rows(many: int, features: int = 5, outputs: int = 3, *, groups: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(groups, many, features + outputs, generator=generator, dtype=torch.float64) + 3.0


def halves(x: Tensor, r: Tensor) -> list[Moments]:
    shifts = x.mean(1, keepdim=True), r.mean(1, keepdim=True)
    found = [Moments(), Moments()]
    for parity, half in enumerate(found):
        half.begin(shifts)
        half.add(x[:, parity::2], r[:, parity::2])
    return found


def test_moments_of_several_additions_are_those_of_all_rows() -> None:
    data = rows(40, groups=2)
    x, r = data[..., :5], data[..., 5:]
    found = Moments()
    for first in range(0, 40, 10):
        found.add(x[:, first : first + 10], r[:, first : first + 10])
    for group in range(2):
        both = data[group].numpy()
        wanted = np.cov(both.T, bias=True)
        xx, rx, rr = found.centred()
        np.testing.assert_allclose(xx[group], wanted[:5, :5], atol=1e-12)
        np.testing.assert_allclose(rx[group], wanted[5:, :5], atol=1e-12)
        np.testing.assert_allclose(rr[group], np.diag(wanted)[5:], atol=1e-12)
        np.testing.assert_allclose(found.mean_x[group], both[:, :5].mean(0), atol=1e-12)
        np.testing.assert_allclose(found.mean_r[group], both[:, 5:].mean(0), atol=1e-12)
        raw = both.T @ both / 40
        xx, rx, rr = found.raw()
        np.testing.assert_allclose(xx[group], raw[:5, :5], atol=1e-11)
        np.testing.assert_allclose(rx[group], raw[5:, :5], atol=1e-11)
        np.testing.assert_allclose(rr[group], np.diag(raw)[5:], atol=1e-11)


def test_moments_lose_no_digits_to_a_large_mean() -> None:
    x = 1e4 + torch.randn(1, 500, 3, generator=torch.Generator().manual_seed(0))
    found = Moments()
    found.add(x[:, :250], x[:, :250])
    found.add(x[:, 250:], x[:, 250:])
    np.testing.assert_allclose(found.centred()[0][0], np.cov(x[0].double().numpy().T, bias=True), rtol=1e-3)


def test_merged_moments_are_those_of_both() -> None:
    data = rows(30)
    one, other = halves(data[..., :5], data[..., 5:])
    whole = Moments()
    whole.add(data[..., :5], data[..., 5:])
    assert one.merged(other).rows == 30
    for found, wanted in zip(one.merged(other).centred(), whole.centred(), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_fit_without_ridge_is_least_squares(offset: bool, groups: int) -> None:
    data = rows(64, groups=groups)
    x, r = data[..., :5], data[..., 5:]
    r = r + x @ torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = fit(halves(x, r), offset=offset, ridges=(1e-14,))
    for group in range(groups):
        design = x[group].numpy()
        if offset:
            design = np.hstack([design, np.ones((64, 1))])
        wanted = np.linalg.lstsq(design, r[group].numpy(), rcond=None)[0]
        np.testing.assert_allclose(found.change[group], wanted[:5].T, atol=1e-9)
        np.testing.assert_allclose(found.offset[group], wanted[5] if offset else np.zeros(3), atol=1e-9)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_fit_with_one_ridge_is_the_closed_form(ridge: float) -> None:
    data = rows(64)
    x, r = data[..., :5], data[..., 5:] + data[..., :3]
    found = fit(halves(x, r), offset=True, ridges=(ridge,))
    centred = (x[0] - x[0].mean(0)).numpy()
    gram = centred.T @ centred / 64
    damped = gram + ridge * np.trace(gram) / 5 * np.eye(5)
    wanted = np.linalg.solve(damped, centred.T @ r[0].numpy() / 64).T
    np.testing.assert_allclose(found.change[0], wanted, atol=1e-10)
    np.testing.assert_allclose(
        found.offset[0], r[0].mean(0).numpy() - wanted @ x[0].mean(0).numpy(), atol=1e-10
    )


def test_fit_keeps_the_weights_where_the_data_are_noise() -> None:
    data = rows(12, features=40, outputs=2)
    found = fit(halves(data[..., :40], data[..., 40:] - 3.0), offset=True)
    assert found.ridge is None or found.ridge >= 1.0
    assert float(found.change.abs().max()) < 0.1


def test_fit_takes_a_weak_ridge_where_samples_say_it_all() -> None:
    x = rows(400)[..., :5]
    weight = torch.randn(1, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = fit(halves(x, x @ weight.mT), offset=True)
    assert found.ridge == 1e-4
    assert found.gain > 0.999
    torch.testing.assert_close(found.change, weight, rtol=1e-3, atol=1e-3)


def test_fit_judges_a_strength_by_samples_it_has_not_seen() -> None:
    # Twenty samples, thirty features: each half alone can be explained without error by any noise.
    data = rows(20, features=30, outputs=1, seed=4)
    x, noise = data[..., :30], data[..., 30:] - 3.0
    signal = x[..., :1] - 3.0
    strong = fit(halves(x, signal * 0.01 + noise), offset=True)
    weak = fit(halves(x, signal), offset=True)
    assert strong.ridge is None or (weak.ridge is not None and strong.ridge >= weak.ridge)


def test_fit_of_one_half_alone_takes_the_strongest_ridge() -> None:
    x = rows(30)[..., :5]
    half = Moments()
    half.add(x, x[..., :3])
    found = fit([half, Moments()], offset=True, ridges=(1e-3, 2.0))
    assert found.ridge == 2.0


def test_fit_of_features_that_are_always_the_same_changes_nothing_but_the_constant() -> None:
    x = torch.ones(1, 20, 4, dtype=torch.float64)
    r = torch.full((1, 20, 2), 0.5, dtype=torch.float64)
    found = fit(halves(x, r), offset=True)
    assert float(found.change.abs().max()) == 0.0
    torch.testing.assert_close(found.offset, torch.full((1, 2), 0.5, dtype=torch.float64))


def test_dead_group_beside_a_live_one_is_left_alone() -> None:
    x = rows(100, groups=2)[..., :5].clone()
    x[1] = 7.0
    r = x[..., :3].clone()
    found = fit(halves(x, r), offset=True)
    assert bool(found.change.isfinite().all())
    assert float(found.change[1].abs().max()) == 0.0
    assert float(found.change[0].abs().max()) > 0.5


@pytest.mark.parametrize("strict", [True, False])
def test_constant_that_held_out_samples_do_not_bear_out_goes_where_the_fit_is_strict(strict: bool) -> None:
    x = rows(40)[..., :5]
    sign = torch.ones(1, 40, 2, dtype=torch.float64)
    sign[:, 1::2] = -1.2  # one half says plus, the other minus
    found = fit(halves(x, sign), offset=True, strict=strict, ridges=(10.0,))
    assert (float(found.offset.abs().max()) == 0.0) == strict
    steady = fit(halves(x, torch.ones_like(sign)), offset=True, strict=strict)
    torch.testing.assert_close(steady.offset, torch.ones(1, 2, dtype=torch.float64))
    assert float(steady.change.abs().max()) == 0.0
