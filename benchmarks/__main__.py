"""Measures, prints a table, writes `.local/bench.json` and brings docs/performance.md up to date.

python -m benchmarks [--only PART[,PART]] [--million]

With `--only`, what the other parts last measured stays.
"""

import argparse
import json
import os
import platform
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks.document import write_document
from benchmarks.goals import goals, goals_as_text
from benchmarks.parts import PARTS, Session
from benchmarks.places import RESULT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures the product against its peers.")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--million", action="store_true", help="measure all runs at 1,000,000 too")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else list(PARTS)
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")

    parts: dict[str, Any] = json.loads(RESULT.read_text())["parts"] if RESULT.exists() else {}
    with ExitStack() as stack:
        session = Session(stack, {name: part["data"] for name, part in parts.items()}, million=arguments.million)
        for name in wanted:
            print(f"{name} ...", file=sys.stderr, flush=True)
            started = time.monotonic()
            data = session.known[name] = PARTS[name](session)
            parts[name] = {"host": _host(), "took_s": round(time.monotonic() - started), "data": data}
            found = goals({name: part["data"] for name, part in parts.items()})
            RESULT.parent.mkdir(exist_ok=True)
            RESULT.write_text(json.dumps({"parts": parts, "goals": [goal.as_json() for goal in found]}, indent=1))
    print(goals_as_text(found))
    write_document(parts, found)
    return 0


def _host() -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "boto3": version("boto3"),
        "fastapi": version("fastapi"),
        "mangum": version("mangum"),
        "powertools": version("aws-lambda-powertools"),
    }


if __name__ == "__main__":
    sys.exit(main())
