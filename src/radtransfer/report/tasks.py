"""What a chapter shows of every task, one under the other."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Protocol, TypeVar

from radtransfer.report.labels import task_label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


class Shown(Protocol):
    """A figure or table."""

    def _repr_html_(self) -> str: ...


@dataclass(frozen=True)
class ByTask:
    """Figures or tables of several tasks, each under a heading.

    Parameters
    ----------
    parts : mapping of str to Figure or Table
        By task.
    """

    parts: Mapping[str, Shown]

    def _repr_html_(self) -> str:
        return "\n".join(
            f'<h3 class="rt-task">{escape(task_label(task))}</h3>\n{part._repr_html_()}'
            for task, part in self.parts.items()
        )


def by_task(values: Mapping[str, T], show: Callable[[T], Shown]) -> ByTask:
    """Make a figure or table of every task.

    Parameters
    ----------
    values : mapping
        What is shown, by task.
    show : callable
        Takes one of the values and returns a figure or table.

    Returns
    -------
    ByTask
        Shows itself in a notebook.
    """
    return ByTask({task: show(value) for task, value in values.items()})
