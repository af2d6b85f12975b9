"""Provides the whole local stack as one context manager."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .artifacts import Builder
from .deployment import BUCKET, Deployer
from .emulator import REGION, STATE, check_port, emulator, endpoint_url
from .endpoint import Endpoint
from .steps import Steps

__all__ = ["PYTHON", "ROOT", "Endpoint", "Stack", "running_stack"]

ROOT = Path(__file__).resolve().parent.parent

_VENVS = ROOT / ".local/venv"
PYTHON = _VENVS / "local/bin/python"
"""Runs the emulator, and whatever speaks to the stack: it can import the client of the API."""

_INSTALLER_PYTHON = _VENVS / "installer/bin/python"


class Stack:
    """A running stack that can be deployed from the sources again."""

    def __init__(
        self, builder: Builder, deployer: Deployer, port: int, emulator_process: subprocess.Popen[bytes]
    ) -> None:
        self._builder = builder
        self._deployer = deployer
        self._port = port
        self._emulator = emulator_process
        self.endpoint = self.deploy()

    def deploy(self) -> Endpoint:
        """Deploy the current sources to the stack. Raises CannotBuild, CommandFailed and DeployFailed."""
        self._builder.build_packages()
        deployed = self._deployer.deploy(self._builder.build(BUCKET))
        self.endpoint = Endpoint(
            url=deployed.url,
            api_key=deployed.api_key,
            aws_endpoint_url=endpoint_url(self._port),
            region=REGION,
            stack=self._deployer.stack,
            table=deployed.table,
        )
        return self.endpoint

    def has_died(self, within_s: float = 0) -> bool:
        """Wait at most ``within_s`` seconds. Returns True if the emulator has ended."""
        try:
            self._emulator.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True


@contextmanager
def running_stack(
    port: int, folder: Path, steps: Steps, *, enforce_iam: bool = False, keeps_state: bool = False
) -> Iterator[Stack]:
    """Run the deployed stack on ``port`` until the block ends.

    With ``keeps_state`` it takes the data, the URL and the key of the earlier stack in ``folder``. Raises PortTaken
    before anything is built, and CannotBuild, CommandFailed or DeployFailed if a later step fails.
    """
    check_port(port)
    folder.mkdir(parents=True, exist_ok=True)
    builder = Builder(ROOT, _INSTALLER_PYTHON)
    if not builder.packages_are_built():
        with steps.step("layer's packages installed", "Installing the layer's packages"):
            builder.build_packages()
    is_new, is_deployed = not (folder / STATE).exists(), False
    started = ExitStack()
    try:
        with steps.step("emulator started", "Starting the emulator"):
            process = started.enter_context(
                emulator(PYTHON, port, folder, enforce_iam=enforce_iam, keeps_state=keeps_state)
            )
        with steps.step("template.yaml deployed", "Deploying template.yaml"):
            stack = Stack(builder, Deployer(port, ROOT), port, process)
        is_deployed = True
        yield stack
    finally:
        with steps.step("emulator stopped", "Stopping the emulator"):
            started.close()
        if is_new and not is_deployed:
            # Nothing can be built on half a stack.
            shutil.rmtree(folder / STATE, ignore_errors=True)
