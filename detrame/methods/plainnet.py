"""DeTraMe-PlainNet: the plain network with a Q-metric ReLU for each ReLU."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.training import backbones
from detrame.methods.metric_method import MetricMethod, PaperSteps


@dataclass(frozen=True, kw_only=True)
class DeTraMePlainNet(MetricMethod):
    """DeTraMe-PlainNet: the plain network with a Q-metric ReLU in place of each ReLU.

    Parameters
    ----------
    depth
        Number of convolutions; a Q-metric ReLU follows each but the last.
    batch_norm
        Whether batch norm stands before each Q-metric ReLU.
    kernel
        Kernel of the metrics: "same" as the convolution before each, or "1x1". "same" gives the
        number of parameters in the paper at depth 9, "1x1" that at depth 12.
    """

    name: ClassVar[str] = "detrame-plainnet"
    about: ClassVar[About] = About(
        family="DeTraMe-Net",
        formula="U_{t+1} = ReLU(h*Z + W~(U_t - Z) - b), U_0 = 0, "
        "with diag(W~) = 0, 0 <= h <= 1, b >= 0",
        references=("tang2021",),
        published="CIFAR-10: 88.51 ± 0.17, 92.24 ± 0.32, 93.05 ± 0.46, 92.03 ± 0.54 % at depths 3, "
        "6, 9, 12; CIFAR-100: 64.99 ± 0.34, 69.49 ± 0.61, 69.68 ± 0.50, 70.92 ± 0.78 %; 5 seeds, "
        "shifts and flips (Table 1 of tang2021)",
        differs="batch norm, the kernel of the metrics, and depths 3, 6 and 12 are our reading of "
        "the paper: its counts fit kernel=same at depth 9, but kernel=1x1 at depth 12; 2 steps at "
        "all depths by default, where the paper has 5 (CIFAR-10) or 3 (CIFAR-100) at depth 3: "
        "n_steps=none takes those; metrics start as ReLUs, W~ = 0, h = 1, b = 0, which the paper "
        "does not say",
    )
    paper_steps: ClassVar[dict[int, PaperSteps]] = {3: PaperSteps(cifar10=5, cifar100=3)}
    depth: backbones.Depth = 3
    batch_norm: bool = True

    def network(self, task: Task) -> nn.Module:
        """Make the network."""
        return backbones.PlainNet(
            self.depth,
            task.image_shape[0],
            task.n_classes,
            activation=self.activation(task),
            batch_norm=self.batch_norm,
        )
