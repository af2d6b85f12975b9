"""The guard: a process between the wrapper and the command that starts the command and ends it.

It is forked before the wrapper has a thread or a connection, and it does no I/O over the network. The command is its
child, and each descendant of the command that loses its parent becomes its child. It kills all of them when the
command has ended, when the wrapper dies, and when the deadline has passed that the wrapper keeps moving.

A command that was told to stop may be a shell, which dies of the signal and leaves the program that it waited for.
So the guard tells the rest of the command's process group to stop too, and kills nothing before that is done. The
wrapper bounds the time.

    wrapper          the API, the output, the lease
    └── guard        in a session of its own, all signals blocked
        └── command  in a session of its own; the kernel kills it when the guard dies
"""

import json
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from gyoza_client._exec import kernel
from gyoza_client._exec.descendants import kill_descendants, reap
from gyoza_client._exec.stderr import say
from gyoza_client._lease.boottime import SLICE_S, boottime

CATCHABLE: Final = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}

_CANNOT_RUN: Final = 126
_NOT_FOUND: Final = 127
"""The exit codes of a command that cannot be begun, as shells have them."""

_LONGEST_MESSAGE: Final = 64 * 1024


@dataclass(frozen=True)
class Command:
    words: list[str]
    environ: Mapping[str, str]
    stdout: int
    """The descriptor that becomes its standard output, and so on."""
    stderr: int
    signal_mask: frozenset[int]
    """The signals that were blocked when the wrapper began."""


class Guard:
    """The wrapper's side. No method blocks."""

    def __init__(self, pid: int, link: socket.socket, deadline: kernel.SharedInstant) -> None:
        self.pid: Final = pid
        self.link: Final = link
        """Messages from the guard; the end of the stream is its death."""
        self.deadline: Final = deadline
        """By `boottime`, when the guard kills the command. It may be moved from any thread."""

    def begin(self, environ: Mapping[str, str], folder: str) -> None:
        """Starts the command, with more in its environment. The guard removes the folder if it outlives the wrapper."""
        self._tell("begin", dict(environ), folder)

    def pass_on(self, signum: int) -> None:
        self._tell("signal", signum)

    def _tell(self, *message: Any) -> None:
        _tell(self.link, *message)


def fork_guard(command: Command) -> Guard:
    """Forks the guard. All signals must be blocked, and this thread must be the only one.

    The descriptors of the command's output are closed here, so that they end with the last process that writes there.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    deadline = kernel.SharedInstant()
    wrapper = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_guard(_Guard(wrapper, theirs, deadline, command))
    theirs.close()
    os.close(command.stdout)
    os.close(command.stderr)
    return Guard(pid, ours, deadline)


def read_message(link: socket.socket, flags: int = 0) -> list[Any] | None:
    """The next message, or None at the end of the stream. Raises BlockingIOError if ``flags`` say not to wait."""
    try:
        packet = link.recv(_LONGEST_MESSAGE, flags)
    except ConnectionError:
        return None
    message: list[Any] | None = json.loads(packet) if packet else None
    return message


def _tell(link: socket.socket, *message: Any) -> None:
    # A side that is dead or stands still gets nothing: its death is noticed, and its deadline passes.
    with suppress(BlockingIOError, ConnectionError):
        link.send(json.dumps(message).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _be_guard(guard: "_Guard") -> NoReturn:
    try:
        guard.watch()
    except BaseException as problem:  # noqa: BLE001 - whatever happened, the command must not outlive its guard
        say(f"the guard failed: {problem!r}")
    finally:
        with suppress(BaseException):
            guard.kill_all()
        os._exit(0)


class _Guard:
    def __init__(self, wrapper: int, link: socket.socket, deadline: kernel.SharedInstant, command: Command) -> None:
        self._wrapper = wrapper
        self._link = link
        self._deadline = deadline
        self._command = command
        self._pid: int | None = None
        """The number of the command's process, until it is reaped."""
        self._has_ended = False
        self._is_told_to_stop = False
        self._stopping_group: int | None = None
        """The process group of a command that has ended, while the rest of it was told to stop."""
        self._folder: str | None = None

    def watch(self) -> None:
        """Returns when the command and all that descends from it are dead."""
        os.setsid()
        kernel.adopt_orphans()
        kernel.hide_memory()
        # A guard that was stopped goes on when the wrapper dies, and sees the end of the stream.
        kernel.get_when_parent_dies(signal.SIGCONT)
        wakes, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        poller = select.poll()
        poller.register(self._link, select.POLLIN)
        poller.register(wakes, select.POLLIN)
        while self._is_to_go_on():
            left = self._deadline.get() - boottime()
            poller.poll(max(min(left, SLICE_S), 0.0) * 1000)
            with suppress(BlockingIOError):
                os.read(wakes, 4096)
        self.kill_all()
        _tell(self._link, "dead")

    def _is_to_go_on(self) -> bool:
        """Looks at everything that may end the guard's watch: the wrapper's death, the command's end, the deadline."""
        is_alone = not self._hear()
        reap(self._reaped, self._dead)
        has_ended = self._has_ended and not self._group_stops()
        if is_alone:
            self._outlive()
        elif boottime() >= self._deadline.get() and not has_ended:
            kill_descendants()
            _tell(self._link, "fenced")
        else:
            return not has_ended
        return False

    def _group_stops(self) -> bool:
        """Whether processes are left that were told to stop after the command."""
        if self._stopping_group is not None:
            with suppress(PermissionError):  # a process of another user is one all the same
                try:
                    os.killpg(self._stopping_group, 0)
                except ProcessLookupError:
                    self._stopping_group = None
        return self._stopping_group is not None

    def kill_all(self) -> None:
        """Kills all that descends from this process, and returns when nothing does."""
        rounds = 0
        while reap(self._reaped):
            kill_descendants()
            rounds += 1
            # A chain of processes that fork and end is overtaken only by looking again at once.
            time.sleep(0.0 if rounds < 20 else min(0.001 * (rounds - 19), 0.5))

    def _outlive(self) -> None:
        self.kill_all()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            say("the wrapper died, and the command was killed")

    def _hear(self) -> bool:
        """Does what the wrapper asks for. False if the wrapper is dead."""
        while True:
            try:
                message = read_message(self._link, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            match message:
                case None:
                    return False
                case ["begin", environ, folder]:
                    self._folder = folder
                    self._begin(environ)
                case ["signal", signum] if self._pid is not None:
                    self._is_told_to_stop |= signum == signal.SIGTERM
                    with suppress(PermissionError):
                        os.kill(self._pid, signum)

    def _begin(self, more: Mapping[str, str]) -> None:
        guard = os.getpid()
        try:
            pid = os.fork()
        except OSError as problem:
            self._has_ended = True
            _tell(self._link, "not begun", problem.strerror)
            return
        if pid == 0:
            _be_command(self._command, guard, more)
        self._pid = pid
        os.close(self._command.stdout)
        os.close(self._command.stderr)
        _tell(self._link, "begun", pid)

    def _dead(self, pid: int) -> None:
        if pid == self._pid and self._is_told_to_stop:
            self._stopping_group = pid
            with suppress(PermissionError):
                os.killpg(pid, signal.SIGTERM)

    def _reaped(self, pid: int, status: int) -> None:
        if pid == self._pid and not os.WIFSTOPPED(status):
            self._pid = None
            self._has_ended = True
            _tell(self._link, "ended", status)


def _be_command(command: Command, guard: int, more: Mapping[str, str]) -> NoReturn:
    code = _CANNOT_RUN
    try:
        os.setsid()
        kernel.get_when_parent_dies(signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(code)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(command.stdout, 1)
        os.dup2(command.stderr, 2)
        for set_by_python in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD):
            if set_by_python != signal.SIGINT or signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(set_by_python, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, command.signal_mask)
        os.execvpe(command.words[0], command.words, {**command.environ, **more})  # noqa: S606 - no shell is wanted
    except (OSError, ValueError) as problem:
        text = getattr(problem, "strerror", None) or str(problem)
        os.write(2, f"gyoza exec: cannot run {command.words[0]!r}: {text}\n".encode(errors="replace"))
        code = _NOT_FOUND if isinstance(problem, FileNotFoundError) else _CANNOT_RUN
    finally:
        os._exit(code)
