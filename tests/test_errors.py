from lightning_dissect.errors import text_of


def test_the_notes_of_an_error_stand_before_what_it_says() -> None:
    error = ValueError("no good")
    assert text_of(error) == "no good"
    error.add_note("layer 'head'")
    assert text_of(error) == "layer 'head': no good"
    assert str(error) == "no good"
