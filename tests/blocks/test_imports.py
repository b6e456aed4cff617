"""Large imports are made without the garbage collector, which is back afterwards."""

import gc

import pytest

from blocks.imports import keep_what_is_made


def test_nothing_is_collected_inside_and_everything_afterwards() -> None:
    with keep_what_is_made():
        inside = gc.isenabled()

    assert (inside, gc.isenabled()) == (False, True)


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), keep_what_is_made():
        raise ImportError("a library is missing")

    assert gc.isenabled()


def test_who_had_switched_it_off_keeps_it_off() -> None:
    with keep_what_is_made():
        with keep_what_is_made():
            pass

        assert not gc.isenabled()
