"""Figures to look around in: a static picture, and beside it the same as native controls and a script."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, field_validator

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

from radtransfer.report.step import Figure

_SHARED = ("explorer.js", "explorer.css")


def _folder() -> Traversable:
    return files("radtransfer.report").joinpath("explorers")


def kinds() -> list[str]:
    """Kinds of explorer there are: the scripts in ``report/explorers``."""
    names = (entry.name for entry in _folder().iterdir())
    return sorted(name.removesuffix(".js") for name in names if name.endswith(".js") and name not in _SHARED)


class Explorer(BaseModel):
    """An interactive figure under its static twin, which shows itself in a notebook and in the book.

    Parameters
    ----------
    figure : Figure
        The twin: recorded, with alt text and CSV. It says what a reader without scripts must know.
    kind : str
        Script that draws it, ``report/explorers/<kind>.js``.
    title : str
        Heading of the controls; says what can be changed.
    data : dict
        What the script reads: mappings, lists, texts and finite numbers; numpy arrays become lists.

    Raises
    ------
    pydantic.ValidationError
        If there is no such kind, or the data are no JSON.

    Notes
    -----
    The HTML is one fragment that fetches nothing: data, script and style travel in it, so that it
    works offline, in an executed notebook, and several times on one page. A kind is a script of the form
    ::

        explorer((data, ui) => {
          const prevalence = ui.slider("Prevalence", {min: 0.01, max: 0.5, step: 0.01, value: 0.1});
          const show = ui.values({ppv: "Positive predictive value"});
          return () => show({ppv: ui.percent(data.tp * prevalence())});
        });

    The function makes controls once and returns what is done at first and at every change. Controls
    are native form elements with labels, hence usable by keyboard; values are announced to screen readers.
    ``explorers/explorer.js`` tells what ``ui`` offers. Colours are the theme's, light and dark: use
    ``currentColor`` and ``var(--rt-1)`` to ``var(--rt-5)``.

    Examples
    --------
    >>> figure = step.figure(...)                                             # doctest: +SKIP
    >>> Explorer(figure=figure, kind="queue", title="Try it", data={...})     # doctest: +SKIP
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    figure: Figure
    kind: str
    title: str
    data: dict[str, Any]

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in kinds():
            raise ValueError(f"no explorer {kind!r}; there are {', '.join(kinds())}")
        return kind

    @field_validator("data")
    @classmethod
    def _is_json(cls, data: dict[str, Any]) -> dict[str, Any]:
        try:
            _json(data)
        except TypeError as error:
            raise ValueError(str(error)) from error
        return data

    def html(self) -> str:
        """Controls, data, style and script, without the twin."""
        script, style = (_folder().joinpath(name).read_text(encoding="utf-8") for name in _SHARED)
        kind = _folder().joinpath(f"{self.kind}.js").read_text(encoding="utf-8")
        title = escape(self.title)
        return (
            f'<section class="rt-explorer" data-kind="{self.kind}" aria-label="{title}">\n'
            f'<p class="rt-explorer-title">{title}</p>\n'
            f"<style>\n{style}</style>\n"
            f'<script type="application/json">{_json(self.data)}</script>\n'
            f'<script>\n(() => {{\n"use strict";\n{script}\n{kind}}})();\n</script>\n'
            "</section>"
        )

    def _repr_html_(self) -> str:
        return f"{self.figure._repr_html_()}\n{self.html()}"

    def __repr__(self) -> str:
        """One line; notebooks show the HTML."""
        return f"Explorer {self.kind}: {self.title}"


def _json(data: dict[str, Any]) -> str:
    """JSON that no browser takes for the end of the script."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), default=_plain)
    return text.replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's arrays and scalars
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is no JSON")
