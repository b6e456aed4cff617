"""Calls that a signal must not break off half way."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def run_apart(call: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises; where this is the main thread, another makes the call.

    A signal raises its exception wherever the main thread is: also where a `threading.Condition` has just been locked
    and nothing is there yet to unlock it (CPython issue 29988). A gRPC channel that is left so hangs every thread that
    uses it. Here the exception ends only the wait; the call goes on for as long as its own timeout lets it.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    answer: Future[T] = Future()
    threading.Thread(target=copy_context().run, args=(_settle, call, answer), daemon=True).start()
    return answer.result()


def _settle(call: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001, whoever waits is told, whatever it is
        answer.set_exception(error)
