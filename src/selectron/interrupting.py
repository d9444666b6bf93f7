"""Ctrl-C while a statement runs in this process: heard by the engine, or when the statement is over.

Both are for Python's own handler, in the main thread; one of the user's own is left in place.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import current_thread, main_thread

__all__ = ["deferred", "interruptible"]


@contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C stop the statement that runs inside, by a call of `interrupt`.

    Not by an exception: that would be raised within a function of ours, and SQLite would only say that the
    function failed.

    Raises
    ------
    KeyboardInterrupt
        If it came when the statement was over; else the engine says that it was interrupted.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        interrupt()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if stopped:
        raise KeyboardInterrupt


def deferred() -> AbstractContextManager[None]:
    """Let what runs inside come to its end before Ctrl-C is heard.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C came meanwhile.

    Examples
    --------
    >>> import os
    >>> try:
    ...     with deferred():
    ...         os.kill(os.getpid(), signal.SIGINT)
    ...         print("goes on")
    ... except KeyboardInterrupt:
    ...     print("stopped")
    goes on
    stopped
    """
    return interruptible(lambda: None)
