"""Lines of keys, in every way that TOML lets one write them."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from node.config import lines as config_lines

TRICKY = '''# [not.a.table]
[ a . "b.c" ] # ] = [
k = """
[no] = 1
\\"""
""" # tail
'quo ted' = 'x = [1]'
list = [ # [
  "]", '[',
  """
]""",
]
in.ner.key = {x = 1, y = "}"}

[[many]]
v = 1
[[many]]
v = 2
'''


def test_strings_lists_and_comments_do_not_confuse() -> None:
    tomllib.loads(TRICKY)
    lines = config_lines.locate(TRICKY)
    assert lines == {
        ("a",): 2,
        ("a", "b.c"): 2,
        ("a", "b.c", "k"): 3,
        ("a", "b.c", "quo ted"): 7,
        ("a", "b.c", "list"): 8,
        ("a", "b.c", "in"): 13,
        ("a", "b.c", "in", "ner"): 13,
        ("a", "b.c", "in", "ner", "key"): 13,
        ("many",): 15,
        ("many", "0"): 15,
        ("many", "0", "v"): 16,
        ("many", "1"): 17,
        ("many", "1", "v"): 18,
    }


def test_what_has_no_line_of_its_own_has_that_of_what_is_around_it() -> None:
    lines = config_lines.locate(TRICKY)
    assert config_lines.line_of(lines, ("a", "b.c", "in", "ner", "key", "x")) == 13
    assert config_lines.line_of(lines, ("nothing",)) is None


_keys = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters='"\\'), max_size=8
)
_values = st.one_of(
    st.integers(0, 99).map(str),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters='"\\')).map(
        lambda text: f'"{text}"'
    ),
    st.sampled_from(
        ["[\n1,\n# ]\n2]", "'''\na = 1\n'''", '"""\\\n  x"""', "{a = 1}", "1979-05-27T07:32:00Z"]
    ),
)


@given(st.dictionaries(_keys, _values, max_size=6), st.integers(0, 3))
def test_every_key_is_found_where_it_was_written(table: dict[str, str], blank: int) -> None:
    text, expected = "", {}
    for key, value in table.items():
        text += "\n" * blank
        expected[(key,)] = text.count("\n") + 1
        text += f'"{key}" = {value} # end\n'
    assert set(tomllib.loads(text)) == set(table)
    assert config_lines.locate(text) == expected
