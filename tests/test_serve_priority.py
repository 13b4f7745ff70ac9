"""Threads that detect go behind the event loop."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from singleshot.serve.priority import NICE, go_behind


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_a_thread_goes_behind_and_the_others_stay() -> None:
    before, inside = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), []

    def work() -> None:
        go_behind()
        inside.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [min(19, before + NICE)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_where_it_may_not_be_changed_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.setpriority", refuse, raising=False)
    go_behind()
