"""Calls that are given up after a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from nanoarray.errors import NanoarrayError


class TimeLimitError(NanoarrayError):
    """A call took longer than it may."""


def within(limit_s: float | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function, and give it up after a time.

    Its thread goes on: Python cannot stop it. The process should be ended when it can be.

    Raises
    ------
    TimeLimitError
        When it takes longer than ``limit_s``.
    """
    if limit_s is None:
        return function(*arguments)
    helper = getattr(_of_thread, "helper", None) or _Helper()
    _of_thread.helper = None  # whoever leaves before the answer does not get it the next time
    helper.calls.put((function, arguments))
    try:
        result, error = helper.answers.get(timeout=limit_s)
    except queue.Empty:
        text = f"took longer than {limit_s:g} s and was given up (--time-limit)"
        raise TimeLimitError(text) from None
    _of_thread.helper = helper
    if error is not None:
        raise error
    return result


class _Helper:
    """A thread that makes calls for another; to start one for each costs more than a small image.

    It ends when nobody holds this any more, once it has made its last call.
    """

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        arguments = (self.calls, self.answers)
        threading.Thread(target=_serve, args=arguments, name="nanoarray image", daemon=True).start()

    def __del__(self) -> None:
        self.calls.put(None)


def _serve(calls: queue.SimpleQueue[Any], answers: queue.SimpleQueue[Any]) -> None:
    while (call := calls.get()) is not None:
        function, arguments = call
        answer: tuple[Any, BaseException | None]
        try:
            answer = (function(*arguments), None)
        except BaseException as error:  # noqa: BLE001 -- handed over to the caller's thread
            answer = (None, error)
        answers.put(answer)
        del call, function, arguments, answer  # an image is not kept until the next


_of_thread = threading.local()
