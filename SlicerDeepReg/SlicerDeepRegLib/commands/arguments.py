"""The parser of the command line: what is wrong with the arguments is said in a sentence, with what was meant."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..types import meant

_NOT_A_CHOICE = re.compile(
    r"argument (?P<option>.+?): invalid choice: '?(?P<given>.*?)'? \(choose from (?P<choices>.+)\)"
)
_UNKNOWN = re.compile(r"unrecognized arguments: (?P<given>.+)")


class Parser(argparse.ArgumentParser):
    """A parser whose errors have one sentence and the way to the help, where argparse prints every option."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and refuse what is left: the parser of a subcommand knows the options that were meant.

        A misspelled option is named before what is missing because of it.
        """
        for given in (sys.argv[1:] if args is None else args) if self._subparsers is None else ():
            name = given.partition("=")[0]
            if name == "--":
                break
            if name.startswith("--") and not any(option.startswith(name) for option in self._options()):
                self.error(f"unrecognized arguments: {given}")
        parsed, left = super().parse_known_args(args, namespace)
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return parsed, left

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave with 2."""
        self.exit(2, f"{self.prog}: {self._sentence(message)} {self.prog} --help lists what there is.\n")

    def _sentence(self, message: str) -> str:
        if choice := _NOT_A_CHOICE.fullmatch(message):
            choices = [name.strip().strip("'") for name in choice["choices"].split(",")]
            given = choice["given"]
            return f"{choice['option']} must be one of {', '.join(choices)}; it was {given!r}.{meant(given, choices)}"
        if unknown := _UNKNOWN.fullmatch(message):
            given = unknown["given"].split()[0].partition("=")[0]
            return f"{unknown['given']} is not known here.{meant(given, self._options())}"
        return f"{message[:1].upper()}{message[1:]}."

    def _options(self) -> list[str]:
        actions: list[Any] = self._actions
        return [option for action in actions for option in action.option_strings if option.startswith("--")]
