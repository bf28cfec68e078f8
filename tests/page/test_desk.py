"""One model for many visitors: never two at once, and nobody waits for what was stopped."""

import threading
import time

import pytest

from todre.page.desk import Desk


def test_pieces_come_as_they_are_given():
    desk, go = Desk(), threading.Event()

    def work(give, ended):
        give(1)
        go.wait(10)
        give(2)

    pieces = desk.serve("a", work)
    assert next(pieces) == 1
    go.set()
    assert list(pieces) == [2]


def test_two_works_never_overlap():
    desk, inside, most = Desk(), [], []

    def work(give, ended):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        give(None)

    threads = [threading.Thread(target=lambda name=name: list(desk.serve(name, work))) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1] * 6


def endless(give, ended):
    while not ended():
        give(0)
        time.sleep(0.001)


def test_stop_ends_the_visitor_and_no_other():
    desk = Desk()
    pieces = desk.serve("a", endless)
    next(pieces)
    assert not desk.stop("b")
    assert next(pieces) == 0
    assert desk.stop("a")
    assert set(pieces) <= {0}
    assert not desk.stop("a")
    assert list(desk.serve("b", lambda give, ended: give("free"))) == ["free"]


def test_a_visitor_who_leaves_frees_the_model():
    desk = Desk()
    pieces = desk.serve("a", endless)
    next(pieces)
    pieces.close()
    assert list(desk.serve("b", lambda give, ended: give("free"))) == ["free"]


def test_a_new_request_ends_the_one_before():
    desk = Desk()
    first = desk.serve("a", endless)
    next(first)
    assert list(desk.serve("a", lambda give, ended: give("second"))) == ["second"]
    assert set(first) <= {0}


def test_one_who_stops_while_waiting_never_gets_the_model():
    desk, ran = Desk(), []
    first = desk.serve("a", endless)
    next(first)
    second = desk.serve("b", lambda give, ended: ran.append(1))
    waiter = threading.Thread(target=lambda: list(second))
    waiter.start()
    while not desk.stop("b"):
        time.sleep(0.001)
    desk.stop("a")
    list(first)
    waiter.join(10)
    assert not waiter.is_alive()
    assert not ran


def test_what_the_work_raises_is_raised_and_the_model_is_free():
    desk = Desk()

    def broken(give, ended):
        give(1)
        raise ValueError("broken")

    pieces = desk.serve("a", broken)
    assert next(pieces) == 1
    with pytest.raises(ValueError, match="broken"):
        next(pieces)
    assert list(desk.serve("a", lambda give, ended: give(2))) == [2]
