"""Tests imports that a linter does not see.

Routes without a body do not load pydantic, which would slow down their cold starts. The local stack and the examples
reach the API through the client.
"""

import ast
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


HTTP_LIBRARIES = {"http", "httpx", "httpx2", "requests", "urllib3"}
ASKS_THE_EMULATOR = "local/emulator.py"
"""It asks whether the emulator is up, and knows nothing of the API."""


def test_the_local_stack_and_the_examples_reach_the_api_through_the_client_only() -> None:
    others = set()
    for path in [*ROOT.glob("local/*.py"), *ROOT.glob("examples/*.py")]:
        imported = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
        if any(name.split(".")[0] in HTTP_LIBRARIES or name == "urllib.request" for name in imported):
            others.add(path.relative_to(ROOT).as_posix())
    assert others == {ASKS_THE_EMULATOR}
