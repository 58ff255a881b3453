"""The weights of each epoch, kept while a method trains and scored on the test images afterwards.

Programs often print the best test accuracy over all epochs. That is a choice by test images, so
here it is a column of its own, on request, and nothing is chosen by it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load, save

from ddl_bench.api import Classifier, Keepable, KeepsEpochs, Reloadable, Training
from ddl_bench.errors import UserError
from ddl_bench.files import read_regular, write_atomically


class Best(NamedTuple):
    """Hold the highest accuracy of all epochs, in percent, its epoch, and how many were scored."""

    accuracy: float
    epoch: int
    n_epochs: int


class KeptEpochs:
    """Files RUN/work/ID.epoch-N.checkpoint, which go with the checkpoint of the cell.

    Parameters
    ----------
    checkpoint
        The file of the checkpoint.
    before_writing
        Is called before anything is written; ends the process where another one has the cell.
    """

    def __init__(
        self, checkpoint: Path, before_writing: Callable[[], object] = nullcontext
    ) -> None:
        self._checkpoint = checkpoint
        self._before_writing = before_writing

    def keep(
        self,
        classifier: Classifier,
        epoch: int,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Write the weights after an epoch; a failure costs this epoch's score alone.

        They are taken before `writing` is entered.
        """
        if not isinstance(classifier, Keepable):
            return
        state = {name: value.contiguous().cpu() for name, value in classifier.state().items()}
        try:
            with writing():
                self._before_writing()
                write_atomically(self._path(epoch), save(state))
        except UserError as error:
            print(f"weights of epoch {epoch} are not kept: {error}", flush=True)

    def best(
        self, classifier: Classifier, n_epochs: int, accuracy: Callable[[Classifier], float]
    ) -> Best | None:
        """Score the kept weights of all epochs; None where there are none.

        Parameters
        ----------
        classifier
            Takes the weights in turn, and has its own in the end.
        n_epochs
            How long was trained.
        accuracy
            Scores the test images.
        """
        if not (isinstance(classifier, Keepable) and isinstance(classifier, Reloadable)):
            return None
        own = {name: value.clone() for name, value in classifier.state().items()}
        accuracies = {}
        for epoch in range(1, n_epochs + 1):
            path = self._path(epoch)
            if path.exists():
                classifier.load(load(read_regular(path)))
                accuracies[epoch] = accuracy(classifier)
        classifier.load(own)
        if not accuracies:
            return None
        epoch = max(accuracies, key=lambda each: accuracies[each])
        return Best(accuracies[epoch], epoch, len(accuracies))

    def _path(self, epoch: int) -> Path:
        return self._checkpoint.with_suffix(f".epoch-{epoch}.checkpoint")


def is_asked_for(training: Training) -> bool:
    """Whether a training wants the weights of its epochs to be scored."""
    return isinstance(training, KeepsEpochs) and training.keeps_epochs
