"""Names workers."""

import os
import socket
from uuid import uuid4


def new_worker_id() -> str:
    """A name that no other worker has: the host, the process and a random part."""
    return f"{socket.gethostname()[:80]}-{os.getpid()}-{uuid4().hex[:12]}"
