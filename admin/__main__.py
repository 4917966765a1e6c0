"""The command `lockgate`."""

from __future__ import annotations

import typer

from admin import agents, audit, batches, bundles, calls, doctor, explaining, kills, processes, tools, verdicts

app = typer.Typer(
    name="lockgate",
    help="Lockgate from the command line. Exit codes: 0 done, 1 a definite no, 2 usage, 3 could not find out, "
    "4 parked, 5 in doubt; of commands that ask a solver 2 unknown, 3 bad input. `make dev` starts a gateway to try.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for part in (processes, calls, verdicts, batches, explaining, tools, agents, doctor):
    app.add_typer(part.app)
app.add_typer(audit.verifying)
app.add_typer(bundles.app, name="bundle")
app.add_typer(kills.app, name="kill")
app.add_typer(audit.app, name="audit")


def main() -> None:
    """Run one command and exit with its code."""
    app(prog_name="lockgate")


if __name__ == "__main__":
    main()
