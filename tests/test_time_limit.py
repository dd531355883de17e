"""Calls that are given up after a time."""

import threading
import time

import pytest

from nanoarray.archive.time_limit import TimeLimitError, within


def test_a_call_that_was_given_up_answers_nobody_else():
    let_go = threading.Event()

    def slow():
        let_go.wait(10)
        return "late"

    with pytest.raises(TimeLimitError, match=r"longer than 0\.01 s"):
        within(0.01, slow)
    let_go.set()
    time.sleep(0.05)
    assert within(5, lambda: "in time") == "in time"


def test_an_error_is_the_callers_and_the_next_call_goes_on():
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)
    assert within(5, divmod, 7, 2) == (3, 1)


def test_one_thread_makes_the_calls_of_another_and_ends_with_it():
    names = []
    caller = threading.Thread(
        target=lambda: names.extend(within(5, threading.current_thread) for _ in range(3))
    )
    caller.start()
    caller.join()
    assert len(set(names)) == 1
    names[0].join(5)
    assert not names[0].is_alive()
