"""SIGINT and SIGTERM ask the loop to stop; who presses Ctrl-C twice does not want to wait."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from adorym.engine.signals import CAUGHT, Ended, end_on_signal, stop_on_signal


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", CAUGHT, ids=lambda n: n.name)
def test_signal_asks_to_stop(number):
    asked = []
    with stop_on_signal(asked.append):
        send(number)
    assert asked == [number.name]


def test_second_interrupt_ends_at_once_a_second_sigterm_does_not():
    asked = []
    with stop_on_signal(asked.append):
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert asked == ["SIGTERM", "SIGTERM", "SIGINT"]


def test_handlers_are_put_back_whatever_happens():
    before = [signal.getsignal(number) for number in CAUGHT]
    with pytest.raises(RuntimeError, match="mine"), stop_on_signal(lambda name: None):
        assert [signal.getsignal(number) for number in CAUGHT] != before
        send(signal.SIGINT)
        raise RuntimeError("mine")
    assert [signal.getsignal(number) for number in CAUGHT] == before


def test_only_the_main_thread_catches_signals():
    before, ended = [signal.getsignal(number) for number in CAUGHT], []

    def work() -> None:
        with stop_on_signal(ended.append):
            ended.append(str([signal.getsignal(number) for number in CAUGHT] == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == ["True"]


@pytest.mark.parametrize("number", CAUGHT, ids=lambda n: n.name)
def test_before_a_run_signals_end_the_process_with_their_status(number):
    with end_on_signal():
        send(signal.SIGUSR1)  # nothing to save yet: not deadly
        with pytest.raises(Ended) as ended:
            send(number)
    assert (ended.value.signal, ended.value.status) == (number.name, 128 + number)


def test_a_signal_whose_exception_was_lost_still_ends_before_the_run():
    with end_on_signal():
        with pytest.raises(Ended):
            send(signal.SIGTERM)  # compiled code may swallow this
        with pytest.raises(Ended) as ended, stop_on_signal(lambda name: None):
            raise AssertionError("the run begins")
    assert ended.value.status == 128 + signal.SIGTERM
    with end_on_signal(), stop_on_signal(lambda name: None):
        pass


def test_a_signal_whose_exception_became_another_one_is_told():
    with pytest.raises(Ended) as ended, end_on_signal():
        try:
            send(signal.SIGINT)
        except Ended as error:
            raise ValueError("what compiled code says of it") from error
    assert ended.value.status == 128 + signal.SIGINT
    with pytest.raises(ValueError, match="mine"), end_on_signal():
        raise ValueError("mine")


def test_nothing_is_printed_of_a_signal_in_a_callback(capsys):
    class Thing:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    with pytest.raises(Ended), end_on_signal():
        Thing()
        with stop_on_signal(lambda name: None):
            raise AssertionError("the run begins")
    assert capsys.readouterr().err == ""
