"""The kernel that executes notebooks: this interpreter, whatever kernels the user has installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

if TYPE_CHECKING:
    from pathlib import Path


def own_kernel_manager(log: Path) -> type[AsyncKernelManager]:
    """Kernel manager that starts ``python3`` as the running interpreter.

    With no folders to look into, Jupyter falls back on its native kernel, which is
    ``sys.executable -m ipykernel_launcher``. A kernel named ``python3`` that another environment
    registered for the user would otherwise win.

    Parameters
    ----------
    log : Path
        Takes what the kernel's process itself has to say; a notebook's outputs do not go there.

    Returns
    -------
    type of AsyncKernelManager
        A class, since papermill makes the instance.
    """

    class OwnKernelManager(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _own_kernels_only(self) -> KernelSpecManager:
            return KernelSpecManager(kernel_dirs=[], parent=self)

        @default("transport_encryption")
        def _encrypt(self) -> str:
            # other users of a shared machine can read its loopback sockets
            return "auto"

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            with log.open("wb") as stream:
                await self._async_start_kernel(stdout=stream, stderr=stream, **options)

    return OwnKernelManager
