"""Stands for `gyoza exec` in tests of the worker: it runs no command, and notes how it was started.

The text of the command says what it does: ``complete``, ``fail``, ``sleep`` until SIGTERM and then fail as interrupted.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from gyoza_client import GyozaClient


def main() -> int:
    noted = {name: value for name, value in os.environ.items() if name.startswith("GYOZA_")}
    run_id, attempt, worker_id = noted["GYOZA_RUN_ID"], int(noted["GYOZA_ATTEMPT"]), noted["GYOZA_WORKER_ID"]
    note = Path(os.environ["NOTES"]) / f"{run_id}-{attempt}.json"
    note.write_text(json.dumps({"argv": sys.argv[1:], "env": noted, "pid": os.getpid(), "sid": os.getsid(0)}))
    what = sys.argv[-1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with GyozaClient() as client:
        try:
            client.report_event(run_id, "STARTED", payload={"worker_id": worker_id}, attempt=attempt)
            while what == "sleep":
                time.sleep(0.05)
        except SystemExit:
            client.report_event(run_id, "FAILED", payload={"reason": "interrupted"}, attempt=attempt)
            raise
        client.report_event(run_id, "FAILED" if what == "fail" else "COMPLETED", attempt=attempt)
    return 1 if what == "fail" else 0


if __name__ == "__main__":
    sys.exit(main())
