"""Names that every file system and every logger can take."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lightning_dissect.files import file_name, shorten_name


@pytest.mark.parametrize("name", ["conv", "features.0", "layer 1", "_orig_mod.conv", "a[1]", "größe", "x" * 120])
def test_a_plain_name_stays(name: str) -> None:
    assert file_name(name) == name


@example("/etc/passwd")
@example("..")
@example("a/../../b")
@example("C:\\x")
@example("overview.png")
@example("n" * 2500)
@example("é" * 200)
@example("\udc80")
@example("a\x00b\n")
@given(st.text(min_size=1))
def test_any_name_becomes_one_part_of_a_path(name: str) -> None:
    made = file_name(name)
    assert Path("run", made).parts == ("run", made)
    assert not set(made) & set('/\\:*?"<>|\x00\n')
    assert not made.startswith(".")
    assert not made.endswith((".", " ", ".png"))
    assert len(os.fsencode(made)) <= 120


def test_different_names_stay_different() -> None:
    names = ["a/b", "a_b", "a:b", "/a_b", "x" * 300, "x" * 301, "..", "...", "overview.png", "overview_png"]
    assert len({file_name(name) for name in names}) == len(names)


@given(st.text(), st.integers(12, 200))
def test_a_shortened_name_fits(name: str, longest: int) -> None:
    made = shorten_name(name, longest)
    assert len(made.encode(errors="surrogatepass")) <= longest
    assert made == name or len(name.encode(errors="surrogatepass")) > longest
