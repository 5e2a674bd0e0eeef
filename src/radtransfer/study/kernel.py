"""The kernel that executes notebooks: this interpreter, whatever kernels the user has installed."""

from __future__ import annotations

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default


class OwnKernelManager(AsyncKernelManager):
    """Starts ``python3`` as the running interpreter.

    With no folders to look into, Jupyter falls back on its native kernel, which is
    ``sys.executable -m ipykernel_launcher``. A kernel named ``python3`` that another environment
    registered for the user would otherwise win.
    """

    @default("kernel_spec_manager")
    def _own_kernels_only(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[], parent=self)

    @default("transport_encryption")
    def _encrypt(self) -> str:
        # other users of a shared machine can read its loopback sockets
        return "auto"
