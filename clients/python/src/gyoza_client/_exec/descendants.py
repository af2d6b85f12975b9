"""Finds, kills and reaps the processes that descend from this one, which must adopt orphans.

A parent that adopts orphans has no descendant exactly when it has no child. `reap` tells that.
"""

import os
import signal
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    group: int
    session: int


def proc_is_ours() -> bool:
    """Whether /proc numbers processes as this one does. It does not in a PID namespace without a /proc of its own."""
    try:
        return str(Path("/proc/self").readlink()) == str(os.getpid())
    except OSError:
        return False


def kill_descendants() -> None:
    """Sends SIGKILL to every descendant that is to be seen. Descendants may fork meanwhile: repeat until none is left.

    The kernel kills a process group at once, so that a group whose members keep forking is killed whole. A child that
    this process has not reaped keeps its number, and so does its group; of deeper descendants, which somebody else may
    reap, the number is checked once more after it was pinned.
    """
    me, session = os.getpid(), os.getsid(0)
    children: dict[int, list[Process]] = defaultdict(list)
    for process in _processes():
        children[process.parent].append(process)
    for child in children[me]:
        if child.session != session:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.group, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child.pid, signal.SIGKILL)
    deeper = [each for child in children[me] for each in children[child.pid]]
    while deeper:
        process = deeper.pop()
        deeper += children[process.pid]
        _kill_pinned(process)


def reap(ended: Callable[[int, int], None], dead: Callable[[int], None] = lambda _pid: None) -> bool:
    """Calls ``ended`` with the number and the wait status of each child that has ended. False if no child is left.

    ``dead`` is called before it, while the number of the child is still the child's, and so is its process group.
    A child that was stopped counts too: its status tells.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return True
            if found.si_code not in (os.CLD_STOPPED, os.CLD_TRAPPED):
                dead(found.si_pid)
            pid, status = os.waitpid(found.si_pid, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return False
        if pid != 0:
            ended(pid, status)


def _processes() -> list[Process]:
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - a Path for each process takes twice the time
        if name.isdecimal():
            process = _process(int(name))
            if process is not None:
                found.append(process)
    return found


def _process(pid: int) -> Process | None:
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(file, 4096)
    except OSError:
        return None
    finally:
        os.close(file)
    # The name of the program stands in parentheses and may hold any byte.
    _state, parent, group, session, *_ = text[text.rindex(b")") + 2 :].split()
    return Process(pid, int(parent), int(group), int(session))


def _kill_pinned(process: Process) -> None:
    try:
        pinned = os.pidfd_open(process.pid)
    except (OSError, AttributeError):
        # Dead, or a kernel that pins no number: it is killed when its parent is dead and this process its parent.
        return
    try:
        if _process(process.pid) == process:
            signal.pidfd_send_signal(pinned, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(pinned)
