"""Atomic writes: all or nothing, whatever goes wrong."""

import os

import pytest

from gptcore.files import atomic_write


def test_the_file_appears_whole_at_the_end(tmp_path):
    path = tmp_path / "new" / "deeper" / "log.csv"
    with atomic_write(path) as temporary:
        temporary.write_text("step,loss\n")
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == ".csv"
    assert path.read_text() == "step,loss\n" and list(path.parent.iterdir()) == [path]


def test_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "a"
    for text in ("old", "new"):
        with atomic_write(str(path)) as temporary:
            temporary.write_text(text)
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.json"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b)))
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
        order.append("write")
    assert order == ["write", "fsync", "replace"]


def test_two_writers_at_once_do_not_mix(tmp_path):
    with atomic_write(tmp_path / "a") as one, atomic_write(tmp_path / "a") as two:
        one.write_text("one"), two.write_text("two")
        assert one != two
    assert (tmp_path / "a").read_text() == "one" and len(list(tmp_path.iterdir())) == 1
