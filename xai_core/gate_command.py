"""The command `gate`: hold a finished run against a policy, and say by the exit code whether it passes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xai_core.errors import SettingError
from xai_core.options import say


def gate(
    run: Annotated[Path, typer.Argument(help="The folder of a finished audit")],
    policy: Annotated[Path, typer.Option(help="A TOML file of [[rule]] tables, such as assets/gate.toml")],
    against: Annotated[Path | None, typer.Option(help="An earlier run, for the numbers of drift")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Judge this model alone; may be given several times")] = None,
) -> None:
    """Hold a finished run against thresholds, and write gate.md into it; exit code 1 unless it passes."""
    from xai_core.gate import judge, missing, page, passed, read_policy, said, write_page
    from xai_core.runs import open_run

    models = model or []
    found, earlier = open_run(run), None if against is None else open_run(against)
    written, content = read_policy(policy), policy.read_bytes()
    rules = [rule for rule in written if not models or not rule.model or rule.model in models]
    if not rules:
        raise SettingError(f"No rule of {policy.name} is of {', '.join(models)}. Leave out --model, or name another.")
    rows = judge(found, rules, earlier, models)
    place = write_page(found, page(found, content, rules, rows, earlier))

    say(said(rules, rows))
    for line in missing(found):
        typer.echo(f"Missing     {line}")
    if left_out := len(written) - len(rules):
        typer.echo(f"Left out    {left_out} rule{'' if left_out == 1 else 's'} of other models")
    typer.echo(f"Saved       {place}")
    if not passed(rules, rows):
        raise typer.Exit(1)
