"""What a person chooses about executors, and how a notebook's kernel learns of it."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from radtransfer.errors import InputError
from radtransfer.training.optional import optional

ENVIRONMENT = "RADTRANSFER_EXECUTOR"
"""Environment variable that holds the settings as JSON. No parameter of a notebook: where runs are
executed changes neither a result nor what it depends on."""


class ExecutorSettings(BaseModel):
    """Where runs are executed.

    Attributes
    ----------
    kind : {"in-process", "process", "ray"}
    workers : int or None
        Processes of the pool; by default as many as there are cores.
    cpus_per_run : int or None
        Threads of each run, and processors that Ray reserves for it. By default the pool divides the
        cores among its workers, and Ray gives one.
    gpus_per_run : float
        Share of a GPU that Ray reserves for each run.
    address : str or None
        Of the Ray cluster; without one, Ray is started on this machine.
    retries : int
        How often a run is tried again whose worker or node died.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["in-process", "process", "ray"] = "in-process"
    workers: int | None = Field(default=None, ge=1)
    cpus_per_run: int | None = Field(default=None, ge=1)
    gpus_per_run: float = Field(default=0.0, ge=0, le=1)
    address: str | None = None
    retries: int = Field(default=3, ge=0)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for name, kinds in (
            ("workers", ("process",)),
            ("cpus_per_run", ("process", "ray")),
            ("gpus_per_run", ("ray",)),
            ("address", ("ray",)),
        ):
            if getattr(self, name) and self.kind not in kinds:
                raise ValueError(f"{name} has no meaning for {self.kind!r}, only for {' and '.join(kinds)}")
        return self

    @classmethod
    def make(cls, **given: Any) -> Self:
        """Settings of what is given; what is None keeps its default.

        Raises
        ------
        InputError
            If a value is not possible, or two contradict each other.
        RadtransferError
            If Ray is wanted and not installed.
        """
        try:
            made = cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise _refused(error) from None
        if made.kind == "ray" and importlib.util.find_spec("ray") is None:
            optional("ray")
        return made

    @classmethod
    def from_environment(cls) -> Self:
        """Settings in ``RADTRANSFER_EXECUTOR``, the default without.

        Raises
        ------
        InputError
            If they are no settings.
        """
        try:
            return cls.model_validate_json(os.environ.get(ENVIRONMENT) or "{}")
        except ValidationError as error:
            raise _refused(error, f"{ENVIRONMENT}: ") from None


def _refused(error: ValidationError, where: str = "") -> InputError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    told = first["msg"].removeprefix("Value error, ")
    return InputError(
        f"{where}executor: {f'{name}: ' if name else ''}{told}",
        hint="see 'radtransfer run --help' for the executors",
    )
