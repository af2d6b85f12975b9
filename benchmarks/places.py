"""Where things lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".local" / "bench"
"""All that a run of the benchmark makes, its result apart."""

RESULT = ROOT / ".local" / "bench.json"
