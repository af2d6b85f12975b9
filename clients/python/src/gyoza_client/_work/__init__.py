"""`GyozaClient.work`: the jobs of a worker."""

from gyoza_client._work.job import Job
from gyoza_client._work.jobs import Jobs

__all__ = ["Job", "Jobs"]
