"""Ctrl-C is noted, met where it is asked for, and no second one is needed to end a hang."""

from __future__ import annotations

import signal
import threading

import pytest

from processor.sandbox.demo import interrupt as demo_interrupt
from processor.sandbox.demo.interrupt import interruptible
from tests.support.patience import patient


def test_it_is_met_only_where_it_is_asked_for() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as meet:
        meet()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            meet()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_one_ends_at_once() -> None:
    ended: list[int] = []
    with interruptible(lambda: ended.append(1)):
        signal.raise_signal(signal.SIGINT)
        assert not ended
        signal.raise_signal(signal.SIGINT)
        assert ended


def test_an_end_that_hangs_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_interrupt, "END_S", 0.05)
    ended = threading.Event()
    with interruptible(ended.set):
        signal.raise_signal(signal.SIGINT)
        assert ended.wait(patient(10))


def test_in_another_thread_it_changes_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def other() -> None:
        with interruptible() as meet:
            meet()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [before]
