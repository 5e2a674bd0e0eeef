"""The command ``radtransfer``.

Commands import what they need when they are called: start-up stays quick and never loads
TensorFlow.
"""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from radtransfer import __version__
from radtransfer.errors import RadtransferError

INTERRUPTED = 130

app = typer.Typer(
    help="Does transfer learning make convolutional networks better diagnosticians in radiology?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ProfileOption = Annotated[str, typer.Option(help="Name of a file in profiles/.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Run what is up to date, too.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"radtransfer {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    # no docstring: it would replace the help text above. `debug` is taken out by `main`.
    del debug, version


@app.command()
def run(
    profile: ProfileOption = "quick",
    only: Annotated[str | None, typer.Option(help="Number or name of the one notebook to run.")] = None,
    force: ForceOption = False,
    executor: Annotated[
        str | None,
        typer.Option(help="Where training runs are executed: in-process (the default), process or ray."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Process: how many; by default as many as there are cores.")
    ] = None,
    cpus_per_run: Annotated[
        int | None, typer.Option(help="Process and ray: threads of a run, and cores that Ray keeps for it.")
    ] = None,
    gpus_per_run: Annotated[
        float | None, typer.Option(help="Ray: share of a GPU for a run, up to 1; by default none.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray: of the cluster, or auto; by default Ray is started here.")
    ] = None,
) -> None:
    """Execute the study's notebooks in order; those whose result stands are skipped."""
    from radtransfer.study.driver import run_study
    from radtransfer.training.executors.settings import ExecutorSettings

    chosen = {
        "kind": executor,
        "workers": workers,
        "cpus_per_run": cpus_per_run,
        "gpus_per_run": gpus_per_run,
        "address": address,
    }
    # without a choice RADTRANSFER_EXECUTOR stands
    settings = (
        ExecutorSettings.make(**chosen) if any(value is not None for value in chosen.values()) else None
    )
    run_study(profile, only=only, force=force, executor=settings)


@app.command()
def study(profile: ProfileOption = "quick", force: ForceOption = False) -> None:
    """Run the notebooks, build the book, and say how long each step took."""
    from radtransfer.study.whole import run_and_build

    run_and_build(profile, force=force)


@app.command()
def book(
    profile: Annotated[
        str | None, typer.Option(help="A profile that was run; without it, the published results.")
    ] = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print it as one PDF, too; needs Chromium or Chrome.")
    ] = False,
) -> None:
    """Render the book; nothing is executed."""
    from radtransfer.study.whole import build, build_pdf

    typer.echo(f"pdf: {build_pdf(profile)}" if pdf else f"book: {build(profile)}")


@app.command()
def publish(
    profile: ProfileOption = "published",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Execute this notebook on the published results and add it; may be repeated."),
    ] = None,
) -> None:
    """Freeze the results of a complete run in results/."""
    if only:
        from radtransfer.study.supplement import supplement

        typer.echo(f"published: {supplement(profile, only)}")
        return
    from radtransfer.study.publish import publish

    typer.echo(f"published: {publish(profile)}")


@app.command()
def verify(
    profile: ProfileOption = "published",
    from_predictions: Annotated[
        bool,
        typer.Option(
            "--from-predictions",
            help="Compute statistics and figures again from results/ alone: minutes, no data, no GPU.",
        ),
    ] = False,
    executed: Annotated[
        bool, typer.Option("--executed", help="Compare the profile's last run; execute nothing.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Do not execute this notebook; its published record stands. May be repeated."),
    ] = None,
    data_only: Annotated[
        bool,
        typer.Option(
            "--data-only", help="From predictions: compare numbers and data, not words and pictures."
        ),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the report in book/verification, for the book to show.")
    ] = False,
) -> None:
    """Execute a profile again and compare every published number with the new one."""
    from radtransfer.study.verify import verify

    verify(
        profile,
        from_predictions=from_predictions,
        executed=executed,
        without=without or (),
        data_only=data_only,
        keep=keep,
    )


@app.command()
def doctor() -> None:
    """Say what this machine can do."""
    from radtransfer.study.doctor import examine

    for finding in examine():
        typer.echo(f"{finding.state:8} {finding.subject:10} {finding.text}")


def _forward(name: str, arguments: list[str]) -> None:
    module = importlib.import_module(f"radtransfer.{name}.commands")
    module.app(args=arguments, prog_name=f"radtransfer {name}")


# sub-commands parse their own arguments, so that they are imported only when they are called
FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command("data", context_settings=FORWARD)
def _data(context: typer.Context) -> None:
    """List, fetch, verify, describe, examine and add datasets."""
    _forward("data", context.args)


@app.command("stats", context_settings=FORWARD)
def _stats(context: typer.Context) -> None:
    """Statistics of diagnostic accuracy for your own tables."""
    _forward("stats", context.args)


@app.command("readers", context_settings=FORWARD)
def _readers(context: typer.Context) -> None:
    """Plan a reading study with and without assistance, and analyse its reads."""
    _forward("readers", context.args)


def main() -> None:
    """Run the command line; an error is one line on standard error."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(args=[argument for argument in arguments if argument != "--debug"], prog_name="radtransfer")
    except RadtransferError as error:
        _fail(error, str(error), debug=debug, status=error.exit_status)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _fail(stop, "interrupted; the next call goes on where this one stopped", status=INTERRUPTED)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"the disk is full: {error} (free some space or set RADTRANSFER_WORK)"
        else:
            message = f"{type(error).__name__}: {error} (--debug shows where)"
        _fail(error, " ".join(message.split()), debug=debug)


def _fail(error: BaseException, message: str, *, debug: bool = False, status: int = 1) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    print(f"radtransfer: error: {message}", file=sys.stderr)
    sys.exit(status)
