"""Two runs never share a folder, and a dead run never blocks one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from adorym.data import lock
from adorym.data.lock import LOCK_NAME, need_free, only_run_in
from adorym.errors import ConfigError


def owned(folder, **owner):
    (folder / LOCK_NAME).write_text(json.dumps({"host": socket.gethostname(), "since": "now"} | owner))


def test_a_second_run_refuses_at_once_and_leaves_the_first_its_claim(tmp_path):
    with only_run_in(tmp_path, "--output"):
        began = time.monotonic()
        with pytest.raises(ConfigError, match="--output: another run uses the folder .*; found process .*since"):
            only_run_in(tmp_path, "--output").__enter__()
        with pytest.raises(ConfigError, match="--output: another run uses the folder .*; found process .*since"):
            need_free(tmp_path, "--output")
        assert time.monotonic() - began < 2
        assert (tmp_path / LOCK_NAME).is_file()
    assert not list(tmp_path.iterdir())
    need_free(tmp_path, "--output")


def test_the_claim_of_a_killed_process_is_void(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    start = lock._start_of(process.pid)
    owned(tmp_path, process=process.pid, start=start)
    with pytest.raises(ConfigError):
        only_run_in(tmp_path, "--output").__enter__()
    process.kill()
    process.wait()
    with only_run_in(tmp_path, "--output"):
        pass


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path):
    owned(tmp_path, process=1, start="0 ticks, of another time")
    need_free(tmp_path, "--output")
    with only_run_in(tmp_path, "--output"):
        pass


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_a_file_that_was_not_written_to_its_end_is_void(tmp_path, content):
    (tmp_path / LOCK_NAME).write_text(content)
    with only_run_in(tmp_path, "--output"):
        pass


def test_an_owner_on_another_machine_is_alive_while_it_renews_its_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SILENCE_S", 1.5)
    owned(tmp_path, host="elsewhere", process=1, start="5")
    over = threading.Event()
    monkeypatch.setattr(lock, "RENEWED_EVERY_S", 0.2)
    renewing = threading.Thread(target=lock._renew, args=(tmp_path / LOCK_NAME, over))
    renewing.start()
    with pytest.raises(ConfigError, match="on elsewhere"):
        only_run_in(tmp_path, "--output").__enter__()
    over.set()
    renewing.join()
    with only_run_in(tmp_path, "--output"):
        pass
