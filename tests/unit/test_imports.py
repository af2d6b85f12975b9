"""Tests that routes without a body do not load pydantic, which would slow down their cold starts."""

import subprocess
import sys

from testing.cloudformation import ROOT
from testing.gateway import FUNCTION_OF_ROUTE

WITH_BODY = {
    *("create_run", "update_run", "add_event", "heartbeat_run", "claim_run"),
    *("put_definition", "create_definition", "create_run_from_definition"),
}
"""The routes that need a body. A cancel reads its own by hand, because most cancels have none."""
WITHOUT_BODY = set(FUNCTION_OF_ROUTE.values()) - WITH_BODY


def loads_pydantic(functions: set[str]) -> bool:
    """True if a new process that imports the functions, without the project's variables, loads pydantic."""
    names = ", ".join(f"functions.{name}.app" for name in sorted(functions))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {names}; print('pydantic' in sys.modules)"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "layers/gyoza_domain"), "AWS_DEFAULT_REGION": "eu-central-1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip() == "True"


def test_routes_without_a_body_do_not_load_pydantic() -> None:
    assert not loads_pydantic(WITHOUT_BODY)


def test_a_route_with_a_body_loads_pydantic() -> None:
    assert loads_pydantic({"create_run"})
