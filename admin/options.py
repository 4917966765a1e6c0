"""The options that every command shares, and the one place where a command's error becomes an exit code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from admin import display, identities
from admin.errors import CommandError
from admin.identities import DEV_FILE, Options, Session

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Key = Annotated[str, typer.Option("--key", help="Idempotency key; the same key never runs twice.", show_default=False)]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="The approver's private key (a file at 0600).", show_default=False)
]
Reason = Annotated[str, typer.Option("--reason", help="Reason code of the tool's contract.", show_default=False)]
Call = Annotated[str, typer.Argument(metavar="CALL", help="call_…", show_default=False)]

_SHARED: dict[str, tuple[Any, Any]] = {
    "url": (Annotated[str, typer.Option(help="Gateway (default: the one in build/dev.json)", show_default=False)], ""),
    "who": (
        Annotated[str, typer.Option("--as", help="agent:<id>, person:<id> or role:<role>", show_default=False)],
        "",
    ),
    "tenant": (Annotated[str, typer.Option(help="(default: the first that fits)", show_default=False)], ""),
    "environment": (
        Annotated[str, typer.Option(help="dev or prod, part of every signature", show_default=False)],
        "",
    ),
    "token_file": (Annotated[Path | None, typer.Option(help="File with the bearer token", show_default=False)], None),
    "dev_file": (Annotated[Path, typer.Option(help="Where `make dev` wrote its file", show_default=False)], DEV_FILE),
    "as_json": (AsJson, False),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the shared options said."""

    options: Options
    as_json: bool

    def session(self, *, is_public: bool = False) -> Session:
        """Where to go and as whom (see `identities.session`)."""
        return identities.session(self.options, is_public=is_public)


def remote(command: Callable[..., IntEnum]) -> Callable[..., None]:
    """A command that talks to the gateway: `command(asked, …)` gets the shared options as one value."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        shared = {name: given.pop(name) for name in _SHARED}
        as_json = shared.pop("as_json")
        asked = Asked(Options(identity=shared.pop("who"), **shared), as_json)
        _finish(lambda: command(asked, **given), as_json=as_json)

    return _with_parameters(run, command, skip=1, shared=_SHARED)


def offline(command: Callable[..., IntEnum]) -> Callable[..., None]:
    """A command that needs no gateway: `command(…, as_json=…)`."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        _finish(lambda: command(**given), as_json=given.get("as_json", False))

    return _with_parameters(run, command, skip=0, shared={})


def _with_parameters(
    run: Callable[..., None], command: Callable[..., IntEnum], *, skip: int, shared: dict[str, tuple[Any, Any]]
) -> Callable[..., None]:
    hints = get_type_hints(command, include_extras=True)
    own = list(inspect.signature(command).parameters.values())[skip:]
    parameters = [each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    for name, (annotation, default) in shared.items():
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    # typer reads both; with `__wrapped__` it would look at the command instead.
    del run.__wrapped__  # type: ignore[attr-defined]  # set by functools.wraps
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _finish(command: Callable[[], IntEnum], *, as_json: bool) -> None:
    try:
        code = command()
    except CommandError as error:
        display.error(error, as_json=as_json)
        code = error.code
    raise typer.Exit(int(code))
