"""Commands that take no mistake in silence: an option given twice, or none that they know."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ddl_bench.errors import UserError

USAGE_ERROR: Any = typer.BadParameter.__base__  # of the click that typer comes with
MEANT = {  # options of other programs, and ours
    "--epochs": "--budget 5e",
    "--seconds": "--budget 90s",
    "--seed": "--seeds 0",
    "--gpu": "--device cuda",
    "--output": "--out FOLDER",
    "--force": "--rerun all",
}


PARSED = re.compile(r"Input should be a valid (?:number|integer), unable to parse .* as an? \w+")


class StrictCommand(TyperCommand):
    """A command whose mistakes are one line, and whose options are given once."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Parse the words of a command line. Raises UserError for a mistake in them."""
        try:
            return super().make_context(*arguments, **extra)
        except USAGE_ERROR as error:
            raise mistake_of(error) from None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option with a value that is given twice: only the last one would count."""
        _, _, order = self.make_parser(ctx).parse_args(args=[*args])
        for parameter, count in Counter(order).items():
            takes_one = getattr(parameter, "is_flag", True) is False and not parameter.multiple
            if count > 1 and takes_one:
                name = max(parameter.opts, key=len)
                raise UserError(f"{self.name}: {name} is given {count} times; give it once")
        return list(super().parse_args(ctx, args))


class StrictGroup(TyperGroup):
    """The commands together: a mistake in the name of one is one line, too."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Parse the words before those of a command. Raises UserError for a mistake in them."""
        try:
            return super().make_context(*arguments, **extra)
        except USAGE_ERROR as error:
            raise mistake_of(error) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is named. Raises UserError where there is none."""
        try:
            return super().resolve_command(ctx, args)
        except USAGE_ERROR as error:
            raise mistake_of(error) from None


def mistake_of(error: Any) -> Exception:
    """Return the error of a user that a mistake in a command line is; help that is asked for."""
    if type(error).__name__ == "NoArgsIsHelpError":
        return error  # type: ignore[no-any-return]
    text = PARSED.sub("expected a number without a unit", error.format_message())
    text = one_line(text.splitlines())
    meant = MEANT.get(getattr(error, "option_name", ""))
    if meant:
        text = f"{text.partition(' (')[0]}: did you mean {meant}"
    if error.ctx is None:
        return UserError(text)
    command = error.ctx.command
    name = "ddl-bench" if isinstance(command, StrictGroup) else f"ddl-bench {command.name}"
    return UserError(f"{text}; `{name} --help` explains")


def one_line(lines: Sequence[str]) -> str:
    """Join the lines of a message, without a full stop at its end."""
    return " ".join(line.strip() for line in lines).strip().removesuffix(".")
