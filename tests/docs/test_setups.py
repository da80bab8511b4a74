"""Each row of the page on set-ups names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "setups.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 5 and "| test |" not in line]
TEST = re.compile(r"`([\w/]+\.py)(?:::(\w+)|\[([^\]`]+)\])`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_row_names_tests_that_exist(row):
    named = TEST.findall(row.rsplit("|", 2)[1])
    assert named
    for file, function, case in named:
        tree = ast.parse((ROOT / "tests" / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        keys = {key.value for node in ast.walk(tree) if isinstance(node, ast.Dict)
                for key in node.keys if isinstance(key, ast.Constant)}  # fmt: skip
        assert function in functions if function else case in keys
