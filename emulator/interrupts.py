"""SIGINT, SIGTERM and SIGHUP alike: the first ends well what goes on, the second kills at once.

Whoever has nothing to save yet leaves at the first: an exception amidst an import may be swallowed
by what calls back from C. `on_first` says how to end once there is something.
"""

import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STATUS = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_S = 0.01  # wall; how long a signal waits at most while something else is waited for
SHOW_CURSOR = b"\x1b[?25h"  # a display may have hidden it


class _State:
    """Of this process: signals have no other owner."""

    def __init__(self) -> None:
        self.taken: list[signal.Signals] = []
        self.asked = False
        self.held = False
        self.end: Callable[[], None] = leave
        self.tidy: Callable[[], None] = lambda: None
        self.stuck = False
        self.terminals = [fd for fd in (1, 2) if os.isatty(fd)]


def install() -> None:
    """Takes the signals over. `nohup` stays what it is: whom it keeps from SIGHUP ignores it."""
    for each in SIGNALS:
        if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
            _state.taken.append(each)
    _renew()


def on_first(end: Callable[[], None]) -> None:
    """Has the first signal call `end` in the main thread, perhaps more than once."""
    _state.end = end


def leave() -> None:
    """Ends this process at once, as one that has nothing to save."""
    _state.tidy()
    _die("interrupted")


def interrupt() -> None:
    raise KeyboardInterrupt


def finish() -> None:
    """What goes on from here is the end itself: the first signal changes nothing any more."""
    on_first(lambda: None)


def before_leaving(tidy: Callable[[], None]) -> None:
    """Has `leave` call `tidy` first."""
    _state.tidy = tidy


def asked() -> bool:
    """Says whether the first signal has come."""
    return _state.asked


@contextmanager
def held() -> Iterator[None]:
    """Lets the block do all it does: a signal that comes meanwhile is obeyed after it.

    So is one whose exception somebody swallowed before.
    """
    before, _state.held = _state.held, True
    try:
        yield
    finally:
        _state.held = before
    if _state.asked and not before:
        _state.end()


@contextmanager
def kept_from_children(*signals: signal.Signals) -> Iterator[None]:
    """Processes that are begun in the block never get these signals (none named: any of them).

    A terminal and a batch system send them to all; what becomes of children their parent says.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals or SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Overdue(Exception):
    """A call aside took longer than it may."""


class Aside:
    """A thread for what blocks in C, where no signal is obeyed; the main thread waits and obeys.

    One thread for all calls, and it lasts: Linux kills the processes that a thread began, where
    they are to die with their parent, when that thread ends.
    """

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[[], Any], list[Any], threading.Event]]
        self._calls = queue.Queue()
        threading.Thread(target=self._work, name="aside", daemon=True).start()

    def call(
        self,
        function: Callable[[], Any],
        limit_s: float = math.inf,
        on_wait: Callable[[float], None] = lambda waited_s: None,
    ) -> Any:
        """Returns what `function` does; Overdue where that takes longer than `limit_s`.

        `on_wait` is told every second for how long it has taken.

        Ray puts handlers of its own below Python's, in C++, and takes them away again in the end:
        ours are renewed all the while.
        """
        outcome: list[Any] = []
        done = threading.Event()
        self._calls.put((function, outcome, done))
        _state.stuck = True
        began_s = said_s = time.monotonic()
        while not done.wait(LOOK_S):
            _renew()
            now_s = time.monotonic()
            if now_s > began_s + limit_s:
                raise Overdue(f"no end within {limit_s:g} s")
            if now_s > said_s + 1.0:
                said_s = now_s
                on_wait(now_s - began_s)
        _state.stuck = False
        _renew()
        result, error = outcome
        if error is not None:
            raise error
        return result

    def _work(self) -> None:
        while True:
            function, outcome, done = self._calls.get()
            try:
                outcome += function(), None
            except BaseException as error:
                outcome += None, error
            done.set()


def cut_short(status: object) -> None:
    """Ends this process at once where a call aside never came back: it would hold up the end."""
    if _state.stuck:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def _renew() -> None:
    if threading.current_thread() is threading.main_thread():
        for each in _state.taken:
            signal.signal(each, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.asked:
        _die("killed")
    _state.asked = True
    if number == signal.SIGHUP:
        _without_terminal()
    if not _state.held:
        _state.end()


def _without_terminal() -> None:
    """Lets what is said on a terminal that went away go nowhere, instead of failing."""
    for fd in _state.terminals:
        if not os.isatty(fd):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, fd)
            os.close(nowhere)


def _die(word: str) -> None:
    with suppress(OSError):
        if _state.terminals:
            os.write(_state.terminals[0], SHOW_CURSOR)
        os.write(2, f"\n{word}\n".encode())
    os._exit(STATUS)


_state = _State()
