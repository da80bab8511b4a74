"""What a run found, on a terminal: in words, and one line a layer."""

from lightning_dissect.cli.terminal import print_table, say
from lightning_dissect.scores import Scores, headline


def say_found(scores: Scores, q: float = 0.05, least: float = 0.0) -> bool:
    """Print what was found, and return whether any unit has a label."""
    for sentence in headline(scores, q, least).values():
        say(sentence)
    table = scores.detectors(q, least)
    say("")
    print_table(table)
    return bool((table["none"] < table["units"]).any())
