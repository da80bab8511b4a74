import json

import pytest

from lightning_dissect.errors import naming, text_of


def test_the_notes_of_an_error_stand_before_what_it_says() -> None:
    error = ValueError("no good")
    assert text_of(error) == "no good"
    error.add_note("layer 'head'")
    assert text_of(error) == "layer 'head': no good"
    assert str(error) == "no good"


def test_the_innermost_layers_are_named_once() -> None:
    error = json.JSONDecodeError("no good", "{", 0)
    error.add_note("of the user's own")
    with pytest.raises(json.JSONDecodeError) as raised, naming("the hook that compared it"), naming(*"abcde"):
        raise error
    assert raised.value is error
    assert error.__notes__ == ["of the user's own", "layers 'a', 'b', 'c' and 2 more"]
