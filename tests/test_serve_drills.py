"""Small samples of the drills of `benchmarks/serve_drills.py`, against real servers."""

from __future__ import annotations

import serve_drills
import serve_load


def test_a_load_counts_and_times_its_answers() -> None:
    load = serve_load.Load(2.0)
    load.answers.update([200, 200, 503])
    load.times = {200: [0.1, 0.3], 503: [0.01]}
    assert (load.rate, load.quantile(0.5), load.quantile(0.99), load.quantile(0.99, 503)) == (1.0, 0.3, 0.3, 0.01)
    assert load.quantile(0.5, 500) == 0


def test_huge_bodies_are_refused_while_they_come() -> None:
    assert serve_drills.huge_bodies(times=1, megabytes=50).faults == ()


def test_stalled_clients_do_not_keep_others_waiting() -> None:
    assert serve_drills.stalled(clients=60, read_timeout=2).faults == ()


def test_clients_that_go_away_leave_nothing_behind() -> None:
    assert serve_drills.disconnects(clients=60).faults == ()


def test_what_is_in_flight_at_a_signal_is_answered() -> None:
    assert serve_drills.stop_in_flight(times=1, requests=50).faults == ()


def test_a_decoder_that_is_killed_is_replaced() -> None:
    assert serve_drills.killed_decoders(kills=3).faults == ()


def test_an_engine_that_ends_is_replaced() -> None:
    assert serve_drills.killed_engines(kills=3, within=60).faults == ()


def test_paths_and_names_that_lead_out_tell_nothing() -> None:
    assert len(serve_drills.traversals()) >= 50
    assert serve_drills.traversal().faults == ()


def test_foreign_hosts_and_origins_are_refused() -> None:
    assert serve_drills.foreign_hosts().faults == ()


def test_the_memory_stays_and_a_leak_is_seen() -> None:
    assert serve_drills.leak(requests=300, warm_up=300).faults == ()
    (fault,) = serve_drills.leak(requests=400, warm_up=100, leaking=True).faults
    assert "memory grew by" in fault
