"""Networks whose training can be killed and resumed."""

import time
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from ddl_bench.api import Task
from ddl_bench.training.backbones import Normalise
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import RecipeOptions
from detrame.methods.fastnet import DeTraMeFastNet


class Lag(nn.Dropout):
    """Draws from torch's own generator at each step, which then takes 30 ms more."""

    def project_(self) -> None:
        time.sleep(0.03)


@dataclass(frozen=True, kw_only=True)
class Drops(NetworkMethod):
    """A linear network with dropout and batch statistics."""

    name: ClassVar[str] = "drops"
    dropout: float = 0.5

    def network(self, task: Task) -> nn.Module:
        linear = nn.Linear(task.train.X[0].numel(), task.n_classes)
        return nn.Sequential(
            Normalise(1), nn.Flatten(), linear, nn.BatchNorm1d(task.n_classes), Lag(self.dropout)
        )


AVERAGED = RecipeOptions(lookahead=True)


@dataclass(frozen=True, kw_only=True)
class Averaged(DeTraMeFastNet):
    """A network whose weights are averaged over steps."""

    name: ClassVar[str] = "averaged"
    recipe: Literal["fast", "paper"] | RecipeOptions = AVERAGED
