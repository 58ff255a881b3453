"""The linear readout and the search for its penalty."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from baselines.features import readout
from baselines.features.readout import Linear, fit_readout, search
from tests.conftest import Clock


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def labelled() -> tuple[Tensor, Tensor, Tensor]:
    """400 samples of 3 classes in 30 features of unlike scale, a hundred of them held out."""
    y = torch.arange(400) % 3
    features = (draw(5, 3, 30)[y] + 2 * draw(6, 400, 30)) * torch.logspace(-2, 2, 30) + 5
    return features, y, torch.arange(400) >= 300


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_the_readout_reaches_scikit_learns_minimum(
    labelled: tuple[Tensor, Tensor, Tensor],
    refit: bool,
    penalty: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readout, "PENALTIES", [penalty])
    features, y, held_out = labelled
    ours = fit_readout(features.clone(), y, held_out, 3, Clock(), refit=refit)
    seen = features[~held_out].double()
    deviation = (seen.var(0, correction=0) + 1e-3 * seen.var(0, correction=0).mean()).sqrt()
    Z = ((features - seen.mean(0)) / deviation).numpy()
    used = np.ones(400, bool) if refit else ~held_out.numpy()
    peer = LogisticRegression(C=1 / (penalty * used.sum()), tol=1e-9, max_iter=5000).fit(
        Z[used], y.numpy()[used]
    )

    def objective(weight: Tensor, scores: Tensor) -> float:
        return float(
            torch.nn.functional.cross_entropy(scores[used], y[used])
            + penalty / 2 * weight.square().sum()
        )

    theirs = objective(torch.from_numpy(peer.coef_), torch.from_numpy(peer.decision_function(Z)))
    assert (
        abs(objective(ours.weight.double() * deviation[:, None], ours(features)) / theirs - 1)
        < 1e-4
    )
    assert torch.allclose(
        ours(features).softmax(1), torch.from_numpy(peer.predict_proba(Z)).float(), atol=0.01
    )


def test_features_kept_in_half_precision_give_nearly_the_same_readout(
    labelled: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    features, y, held_out = labelled
    features = (features - 5) / torch.logspace(-2, 2, 30)
    monkeypatch.setattr(readout, "PENALTIES", [0.1])
    kinds = (torch.float32, torch.float16)
    whole, half = (
        fit_readout(features.to(kind, copy=True), y, held_out, 3, Clock()) for kind in kinds
    )
    assert torch.allclose(half(features).softmax(1), whole(features).softmax(1), atol=0.01)


def test_the_search_leaves_off_when_the_loss_keeps_rising_or_time_is_over() -> None:
    made: list[float] = []

    def fit(strength: float) -> Linear:
        made.append(strength)
        return Linear(torch.tensor([[strength, 0.0]]), torch.zeros(2))

    X = torch.tensor([[1.0], [1.0], [-1.0], [1.0]])
    y = torch.tensor([0, 0, 1, 1])
    strengths = [
        0.1,
        0.5,
        0.3,
        1.0,
        1.5,
        2.0,
        0.7,
    ]  # three of four are right: the loss is least at log(3)
    strength, best = search(fit, strengths, X, y, Clock())
    assert strength == 1.0
    assert made == [0.1, 0.5, 0.3, 1.0, 1.5, 2.0]
    assert torch.equal(best.weight, torch.tensor([[1.0, 0.0]]))
    assert search(fit, strengths, X, y, Clock(1.0))[0] == 0.1


def test_the_search_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    clock = Clock()
    monkeypatch.setattr(clock, "report", shares.append)
    X = torch.eye(2)
    readouts = iter([Linear(torch.eye(2) * scale, torch.zeros(2)) for scale in (1, 2, 3)])
    search(lambda _: next(readouts), [3.0, 2.0, 1.0], X, torch.arange(2), clock, done=0.6)
    assert shares == pytest.approx([0.7, 0.8, 0.9])
