"""Compile networks for their training steps by torch.compile."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ddl_bench.errors import Skip

CompileMode = Literal["no", "default", "reduce-overhead"]
N_CALLS = 3  # for each batch size before training: the last replays what the others recorded


def compiled(module: nn.Module, mode: CompileMode, device: str) -> Callable[[Tensor], Any]:
    """Return a compiled forward of a module, for a few fixed batch sizes; the module is unchanged.

    Parameters
    ----------
    mode
        As `torch.compile` calls it; "reduce-overhead" records CUDA graphs. "no" returns the module.

    Raises
    ------
    Skip
        For CUDA graphs on another device.
    """
    if mode == "no":
        return module
    if mode == "reduce-overhead" and torch.device(device).type != "cuda":
        advice = f"CUDA graphs need a CUDA device, not {device}; use compile=default"
        raise Skip(f"compile={mode}: {advice}")
    # Of one class of networks torch compiles eight, then runs others as they are.
    torch.compiler.reset()
    torch_mode = None if mode == "default" else mode
    forward: Callable[[Tensor], Any] = torch.compile(module, mode=torch_mode, dynamic=False)
    return forward


def warm_up(module: nn.Module, losses: list[Callable[[], Tensor]], mode: CompileMode) -> None:
    """Compile a module by calling each of `losses` and its gradient; its state stays as it was.

    Raises
    ------
    Skip
        Naming the cause, where torch.compile does not work.
    """
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        for loss in losses:
            for _ in range(N_CALLS):
                begin_step(mode)
                torch.autograd.backward(loss())
                module.zero_grad()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        cause = " ".join(str(error).split()) or "no message"
        reason = f"torch.compile fails here: {type(error).__name__}: {cause:.200}"
        raise Skip(f"compile={mode}: {reason}") from error
    for buffer, before in buffers:
        buffer.copy_(before)


def begin_step(mode: CompileMode) -> None:
    """Let CUDA graphs use again the memory of what the step before returned."""
    if mode == "reduce-overhead":
        torch.compiler.cudagraph_mark_step_begin()
