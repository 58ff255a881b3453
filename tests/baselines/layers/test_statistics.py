"""Networks with batch norm after codes are the same in use as in training, also after few steps."""

from typing import Any

import pytest
import torch
from torch import nn

from baselines.layers.statistics import statistics_of_one_batch
from baselines.methods.csc_net import CSCNet
from baselines.methods.ddl import DDL
from baselines.methods.deq_sc import DEQSC
from ddl_bench.training.network import Network
from tests.conftest import HELD_OUT, fit


def test_running_statistics_are_those_of_the_batch_and_momenta_stay() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3, momentum=0.2), nn.BatchNorm1d(3, momentum=None)).eval()
    X = 0.01 * torch.randn(50, 3) + 5
    with statistics_of_one_batch(net):
        net(torch.zeros(50, 3))
        net(X)
    first, second = net
    assert isinstance(first, nn.BatchNorm1d)
    assert isinstance(second, nn.BatchNorm1d)
    assert (first.momentum, second.momentum) == (0.2, None)
    assert not net.training
    torch.testing.assert_close(first.running_mean, X.mean(0))
    torch.testing.assert_close(first.running_var, X.var(0), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize(
    "method", [CSCNet(), CSCNet(layers="all"), DEQSC(), DDL(depth=8, width=12)]
)
def test_a_short_training_is_not_lost_in_use(method: Any) -> None:
    """After an epoch of 44 steps, accuracies with running statistics near those of a batch."""
    classifier = fit(method, epochs=1)
    assert isinstance(classifier, Network)

    def accuracy(scores: torch.Tensor) -> float:
        return 100 * float((scores.argmax(1) == HELD_OUT.y).double().mean())

    in_use = accuracy(classifier(HELD_OUT.X))
    with torch.no_grad():
        in_training = accuracy(classifier.module.train()(HELD_OUT.X))
    assert in_training > 30, "three times chance"
    assert in_use > in_training - 20
