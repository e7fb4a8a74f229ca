"""Processes in touch: here threads, each with a meeting of its own."""

import os
import socket
import threading

import pytest

from uotm_keras.backend import distribution, meeting
from uotm_keras.backend.cluster import Cluster
from uotm_keras.utils.errors import InputError


@pytest.fixture
def port(monkeypatch) -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    monkeypatch.setattr(distribution, "meeting_port", lambda cluster: port)
    monkeypatch.setattr(distribution, "meeting_point", lambda *arguments: ("127.0.0.1", port))
    return port


@pytest.fixture
def ended(monkeypatch) -> dict[int, list]:
    """What would have ended the process, instead of doing so."""
    calls = []
    monkeypatch.setattr(os, "_exit", calls.append)
    return calls


def together(count: int, work, seconds: float = 20.0) -> list:
    """What `work` gives in each of so many processes."""
    results = [None] * count
    names = tuple(f"host{i}:1" for i in range(count))

    def run(process):
        try:
            with meeting.meet(Cluster(names, process, count), seconds) as group:
                results[process] = work(group)
        except (InputError, RuntimeError) as error:
            results[process] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def test_values_of_all_in_order(port, ended):
    def work(group):
        everyone = group.exchange({"n": group.process})
        flags = [group.any(group.process == 2), group.any(False)]
        group.finish()
        return [value["n"] for value in everyone], flags

    assert together(4, work) == [([0, 1, 2, 3], [True, False])] * 4
    assert not ended


def test_alone_needs_nobody():
    with meeting.Processes() as group:
        assert group.exchange(5) == [5] and group.any(True) and not group.any(False)
        group.finish()


def test_strangers_are_turned_away(port, ended):
    """Another job's process, nonsense and silence do not take a place."""

    def strangers():
        for greeting in (
            b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"hello": 1, "processes": 3}\n',
            b'{"hello": 7, "processes": 2}\n', b'{"hello": "x", "processes": 2}\n', b"",
        ):  # fmt: skip
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port), 5) as s:
                        s.sendall(greeting)
                        s.shutdown(socket.SHUT_WR)
                        assert s.recv(100) == b""
                    break
                except ConnectionRefusedError:
                    pass
                except OSError:
                    break

    first = threading.Thread(target=lambda: results.append(lone(0)))
    results = []

    def lone(process):
        with meeting.meet(Cluster(("a:1", "b:1"), process, 2), 20) as group:
            value = group.exchange(process)
            group.finish()
            return value

    first.start()
    strangers()
    assert lone(1) == [0, 1]
    first.join(20)
    assert results == [[0, 1]] and not ended


def test_all_are_told_who_is_missing(port):
    names = ("h:1", "h:2", "h:3", "h:4")
    results = {}

    def run(process):
        try:
            meeting.meet(Cluster(names, process, 4), 1.0)
        except InputError as error:
            results[process] = str(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results[0] == results[2]
    assert "process 1 (h:2) and process 3 (h:4) have not come within 1 seconds" in results[0]


def test_the_one_that_dies_is_named_everywhere(port, ended, capsys):
    def work(group):
        if group.process == 2:
            group._channels[0].close()  # as the system does with those of a dead process
            group._closed = True
            return
        for _ in range(100):
            if len(ended) >= 2:
                return
            threading.Event().wait(0.05)

    together(3, work)
    assert ended[:2] == [meeting.LOST] * 2
    assert capsys.readouterr().err.count("process 2 (host2:1) has died or cannot be reached") >= 2


def test_messages_are_lines_of_json(port, ended):
    """A long value goes through whole."""
    long = "ä" * 100_000
    results = together(2, lambda group: (group.exchange(long), group.finish())[0])
    assert results == [[long, long]] * 2


def test_a_failure_waits_for_what_caused_it(port, ended, capsys):
    """The survivor's collective may fail before it is known that the other has died."""

    def work(group):
        group.exchange()
        if group.process == 1:
            threading.Event().wait(0.3)
            group._closed = True
            group._channels[0].close()
            return
        raise RuntimeError("connection reset")

    together(2, work)
    assert ended == [meeting.LOST]
