"""Work of a unit that leaves a trace of who did it; for workers of a cluster to import."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtransfer.training.executors.units import Executor, Outcome, Tell, Unit

EVENTS = "WATCHED_EVENTS"
"""Environment variable that names the file of events."""


@dataclass
class Watched:
    """Executor whose workers write down when they begin and end a unit."""

    executor: Executor

    def run(self, units: Sequence[Unit], tell: Tell) -> Generator[tuple[Unit, Outcome]]:
        yield from self.executor.run(
            [unit.model_copy(update={"work": "watched:perform"}) for unit in units], tell
        )


def perform(unit: Unit, tell: Tell) -> bool:
    import ray

    from radtransfer.training import fit

    node = ray.get_runtime_context().get_node_id()
    _note(unit, "begin", node)
    done = fit.perform(unit, tell)
    _note(unit, "end", node)
    return done


def _note(unit: Unit, event: str, node: str) -> None:
    told = {"unit": unit.name, "fold": unit.fold, "event": event, "process": os.getpid(), "node": node}
    with Path(os.environ[EVENTS]).open("a") as stream:  # short lines are appended in one piece
        stream.write(json.dumps(told) + "\n")


def events(path: Path) -> list[dict[str, Any]]:
    """What happened so far, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
