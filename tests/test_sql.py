"""The collector of cycles rests while trees grow, and is as it was afterwards."""

from __future__ import annotations

import gc

import pytest

from selectron.sql import growing


def test_the_collector_is_as_it_was() -> None:
    assert gc.isenabled()
    with growing():
        assert not gc.isenabled()
        with growing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError), growing():
        _ = 1 / 0
    assert gc.isenabled()
    gc.disable()
    try:
        with growing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
