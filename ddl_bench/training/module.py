"""Any torch network as a method, in three lines."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ddl_bench.api import Task
from ddl_bench.training.backbones import Normalise
from ddl_bench.training.method import NetworkMethod
from ddl_bench.training.recipe import RecipeName, RecipeOptions
from ddl_bench.training.signature import (
    Option,
    call,
    docstring,
    make_method,
    options_of,
    parameters,
    require_factory,
)


def facts(task: Task) -> dict[str, Any]:
    """What a network's factory gets from the task, by the names of its parameters."""
    channels = task.image_shape[0]
    return {
        "n_classes": task.n_classes,
        "num_classes": task.n_classes,
        "channels": channels,
        "in_channels": channels,
        "image_shape": task.image_shape,
    }


FILLED = ("n_classes", "num_classes", "channels", "in_channels", "image_shape")


class Standardised(nn.Module):
    """A network that gets each channel with mean 0 and standard deviation 1 over training images.

    It computes in the channels-last format only where the network says `channels_last = True`.
    """

    def __init__(self, net: nn.Module, channels: int) -> None:
        super().__init__()
        self.normalise = Normalise(channels)
        self.net = net
        self.channels_last = bool(getattr(net, "channels_last", False))

    def forward(self, X: Tensor) -> Any:
        """Return what the network does with uint8 images (n, channels, height, width)."""
        return self.net(self.normalise(X))


def from_module(
    name: str,
    factory: Callable[..., nn.Module],
    *,
    recipe: RecipeName | RecipeOptions | Mapping[str, Any] = "fast",
    **defaults: Any,
) -> type[Any]:
    """Make a method of a torch network.

    The network gets float images (n, channels, height, width), each channel standardised with mean
    and deviation of the training images; that layer belongs to it, is timed and kept with it. It
    returns scores (n, n_classes), or `(scores, extra)`, where an extra tensor of a single number
    is a loss to add in training. Its parts may have `initialise`, `before_step` and `project_`:
    see `ddl_bench.training.network`.

    Parameters
    ----------
    name
        What the method is called in tables and on the command line.
    factory
        A class or function that returns a new network. Its parameters n_classes (or num_classes),
        channels (or in_channels) and image_shape = (channels, height, width) are filled in from
        the task. Every other parameter with a plain default is an option of the method, checked
        against its annotation. Its docstring becomes that of the method.
    recipe
        How to train by default, as the option `recipe` of all networks: a name, or settings such
        as {"optimiser": "adamw", "lr": 1e-3}.
    defaults
        Values of the factory's parameters, in place of its own.

    Returns
    -------
    type
        A `NetworkMethod` with snapshots, size, kept models and resuming.

    Raises
    ------
    ValueError
        For a parameter without a value, or one named as something that every method has.

    Examples
    --------
    >>> class MLP(nn.Sequential):
    ...     def __init__(self, image_shape, n_classes, width: int = 64):
    ...         n_pixels = math.prod(image_shape)
    ...         first, last = nn.Linear(n_pixels, width), nn.Linear(width, n_classes)
    ...         super().__init__(nn.Flatten(), first, nn.ReLU(), last)
    >>> MLPMethod = from_module("mlp", MLP, recipe={"optimiser": "adamw"})
    """
    maker = f"from_module({name!r})"
    require_factory(maker, factory, "parameters", "a class or a function that returns a network")
    options = options_of(maker, factory, defaults, FILLED)
    for option in options:
        if hasattr(NetworkMethod, option.name) or option.name == "name":
            raise ValueError(
                f"from_module({name!r}): the parameter {option.name!r} has a name that every"
                " method uses; wrap the factory in a function that calls it otherwise"
            )
    chosen = RecipeOptions(**recipe) if isinstance(recipe, Mapping) else recipe
    recipe_type = NetworkMethod.__dataclass_fields__["recipe"].type
    asked = [each for each in parameters(factory) if each in FILLED]

    def network(self: Any, task: Task) -> nn.Module:
        given = facts(task)
        values = {each: given[each] for each in asked}
        values |= {option.name: getattr(self, option.name) for option in options}
        net = Standardised(call(factory, values), task.image_shape[0])
        _find_shapes(net, task)
        return net

    about = f"{getattr(factory, '__name__', name)}, trained end to end as a classifier."
    namespace = {"network": network, "__doc__": docstring(factory) or about}
    fields = [Option("recipe", recipe_type, chosen), *options]
    return make_method(name, fields, namespace, bases=(NetworkMethod,), depth=2)


@torch.no_grad()
def _find_shapes(net: nn.Module, task: Task) -> None:
    """Show lazy layers an image, so that they have parameters."""
    if any(isinstance(parameter, UninitializedParameter) for parameter in net.parameters()):
        training = net.training
        net.eval()(torch.zeros(1, *task.image_shape, dtype=torch.uint8))
        net.train(training)
