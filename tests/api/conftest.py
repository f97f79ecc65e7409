from __future__ import annotations

from pathlib import Path

import pytest

from penjing import Result, prune
from penjing.recover import BatchNorm, FineTune
from tests.api.models import Small, accuracy, loss, patterns, trained


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Measurements of these tests neither come from nor go to the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENJING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def original() -> Small:
    return trained()


@pytest.fixture(scope="session")
def pruned(original: Small) -> Result:
    """The whole loop once, with a measured latency and a size to meet."""
    return prune(
        original,
        patterns()[0][0][:4],
        budget="latency=0.6x,size=0.7x",
        data=patterns(2),
        loss=loss,
        evaluate=accuracy,
        recover=[BatchNorm(), FineTune(epochs=3, train=patterns(), lr=1e-2)],
    )


@pytest.fixture(scope="session")
def saved(pruned: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pruned.save(tmp_path_factory.mktemp("runs") / "a")
