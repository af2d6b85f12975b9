"""The loop of a worker: one job after another."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gyoza_client._lease.claims import Claims
from gyoza_client._lease.stop import Stop
from gyoza_client._lease.worker_ids import new_worker_id
from gyoza_client._sync import GyozaClient
from gyoza_client._work.job import Job
from gyoza_client._work.sigterm import Sigterm


class Jobs:
    """The jobs of one worker, as `GyozaClient.work` describes. Iterate over it in one thread."""

    def __init__(
        self,
        client: GyozaClient,
        *,
        queues: Sequence[str] | None,
        capacity: Mapping[str, Any] | None,
        lease_s: int,
        worker_id: str | None,
        max_jobs: int | None,
        idle_s: float | None,
        grace_s: float,
    ) -> None:
        if isinstance(queues, str):
            raise TypeError("queues is a list of names")
        self.worker_id: Final = worker_id or new_worker_id()
        self._client = client
        self._stop = Stop()
        self._claims = Claims(client, self._stop, queues=queues, capacity=capacity, lease_s=lease_s, idle_s=idle_s)
        self._max_jobs = max_jobs
        self._grace_s = grace_s
        self._job: Job | None = None

    def stop(self) -> None:
        """Let the loop end after the current job. Any thread and the handler of any signal may call it."""
        self._stop.set()

    def __iter__(self) -> Iterator[Job]:
        left, pid = self._max_jobs, os.getpid()
        with Sigterm(self._stop, self._grace_s, self._may_be_interrupted):
            while left is None or left > 0:
                try:
                    job = self._job = self._next()
                    if job is None:
                        return
                    yield job
                    if os.getpid() != pid:
                        raise RuntimeError("A loop goes on in the process that began it, not in one forked from it")
                    if not job._was_entered:
                        raise RuntimeError("The loop went on without `with job:`. The run was failed as interrupted")
                finally:
                    self._abandon()
                left = None if left is None else left - 1

    def _next(self) -> Job | None:
        while (claim := self._claims.next(self.worker_id)) is not None:
            self._job = Job(self._client, claim)
            if self._job._start():
                return self._job
        return None

    def _abandon(self) -> None:
        job, self._job = self._job, None
        if job is not None and not job._is_over:
            job._abandon()

    def _may_be_interrupted(self) -> bool:
        return self._job is None or not self._job._is_ending
