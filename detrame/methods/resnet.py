"""DeTraMe-ResNet: the residual network with a Q-metric ReLU inside each block."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ddl_bench.api import About, Task
from ddl_bench.options import Positive
from ddl_bench.training import backbones
from detrame.methods.metric_method import MetricMethod, PaperSteps


@dataclass(frozen=True, kw_only=True)
class DeTraMeResNet(MetricMethod):
    """DeTraMe-ResNet: the residual network with a Q-metric ReLU inside each block.

    The ReLUs after the stem and after each addition stay.

    Parameters
    ----------
    depth
        Number of layers with weights.
    kernel
        Kernel of the metrics: "same" as the convolution before each, 3x3 here, or "1x1".
    """

    name: ClassVar[str] = "detrame-resnet"
    about: ClassVar[About] = About(
        family="DeTraMe-Net",
        formula="U_{t+1} = ReLU(h*Z + W~(U_t - Z) - b), U_0 = 0, "
        "with diag(W~) = 0, 0 <= h <= 1, b >= 0",
        references=("tang2021",),
        published="CIFAR-10: 89.13 ± 0.23, 92.19 ± 0.30, 93.54 ± 0.30, 93.68 ± 0.32 % at depths 8, "
        "20, 56, 110; CIFAR-100: 64.50 ± 0.54, 68.62 ± 0.27, 71.52 ± 0.44, 73.05 ± 0.40 %; 5 "
        "seeds, shifts and flips (Table 1 of tang2021)",
        differs="the paper does not give the kernel of the metrics, nor how they start: here as "
        "ReLUs, W~ = 0, h = 1, b = 0",
    )
    paper_steps: ClassVar[dict[int, PaperSteps]] = {
        8: PaperSteps(cifar10=3, cifar100=2),
        20: PaperSteps(cifar10=3, cifar100=2),
        56: PaperSteps(cifar10=3, cifar100=2),
    }
    depth: backbones.ResNetDepth = 8
    n_steps: Positive | None = None

    def network(self, task: Task) -> nn.Module:
        """Make the network."""
        channels = task.image_shape[0]
        activation = self.activation(task)
        return backbones.ResNet(self.depth, channels, task.n_classes, activation=activation)
