"""A column of the table: ddl-bench report --plugin examples/metric_plugin.py"""

import numpy as np

from ddl_bench.api import Metric, Predicted

DDL_BENCH_API = 1


def macro_recall(predicted: Predicted) -> float:
    """Mean over classes of the share of their test images that are classified right."""
    recalls = []
    for label in np.unique(predicted.targets):
        of_class = predicted.targets == label
        recalls.append((predicted.predictions[of_class] == label).mean())
    return 100 * float(np.mean(recalls))


def right_per_second(predicted: Predicted) -> float | None:
    """Test images that are classified right / seconds of training."""
    n_right = int((predicted.predictions == predicted.targets).sum())
    train_s = predicted.row["train_s"]
    return n_right / train_s if train_s else None


METRICS = {
    "macro_recall": Metric(macro_recall, title="macro recall", unit="%", better="higher"),
    "right_per_second": Metric(right_per_second, title="right", unit="images/s", better="higher"),
}
