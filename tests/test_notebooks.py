"""Every notebook keeps the contract of the course (the guards say what that is), whichever notebooks there are."""
from functools import cache

import bites
import guards
import pytest

from tools import notebooks

PATHS = notebooks.complete_editions()
EVERY = pytest.mark.parametrize("path", PATHS, ids=[path.stem for path in PATHS])


@cache
def chapter(path):
    return guards.Chapter.read(path)


def chapters():
    return [chapter(path) for path in PATHS]


@cache
def parity(path):
    return bites.parity_bites(chapter(path))


def nothing(complaints):
    assert not complaints, "\n" + "\n".join(complaints)


def test_there_are_notebooks():
    assert PATHS


@EVERY
def test_form(path):
    nothing(guards.form(chapter(path)))


@EVERY
def test_nothing_is_used_before_it_is_built(path):
    nothing(guards.nothing_used_early(chapter(path), chapters()))


@EVERY
def test_each_parity_cell_bites(path):
    nothing(parity(path).complaints)


@EVERY
def test_each_exercise_check_bites(path):
    nothing(bites.exercises_bite(chapter(path)))


@EVERY
def test_the_exercise_edition_runs_untouched(path):
    edition = path.parent / "exercises" / path.name
    nothing(bites.untouched(path.stem, notebooks.read(edition), edition.parent))


@EVERY
def test_stored_outputs_are_clean(path):
    nothing(guards.outputs_clean(chapter(path)))


@EVERY
def test_little_is_not_compared(path):
    nothing(guards.little_ignored(chapter(path)))


def test_everything_public_is_checked():
    nothing(guards.everything_checked(chapters()))


def test_every_exercise_is_asked():
    nothing(bites.exercises_asked(chapters()))


def test_what_excuses_a_mutant_is_needed():
    nothing(bites.excuses_hold([parity(path) for path in PATHS]))


def test_setup_cells_are_alike():
    nothing(guards.setup_alike(chapters()))


def test_what_is_generated_is_fresh():
    nothing([f"{path} is stale; run `make exercises`" for path in notebooks.stale()])
