"""Searches: what a user writes, the track that follows, and the same time for each method."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddl_bench.errors import UserError
from ddl_bench.plan.search import Searched, as_toml, read_search, track_of
from ddl_bench.plan.track import Track


def test_values_are_fixed_or_searched() -> None:
    search = read_search("lista[n_steps=2|4, recipe.lr=0.1 | 0.3, n_atoms=64, distilled=true]")
    assert search.name == "lista"
    assert search.params == {"n_atoms": 64, "distilled": True}
    assert search.grid == {"n_steps": [2, 4], "recipe.lr": [0.1, 0.3]}
    assert read_search("sdl") == Searched("sdl", {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sdl[n_atoms=64|]", "expected values with"),
        ("sdl[n_atoms=64|64]", "n_atoms: a value is given twice"),
        ("sdl[n_atoms=none|64]", "n_atoms: none cannot stand in a track"),
        ("sdl[n_atoms]", "is not key=value"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_search(text)


def test_every_method_has_the_same_seconds() -> None:
    searches = [read_search(text) for text in ("sdl[n_atoms=1|2|3, patch=4|5]", "logistic")]
    track = Track.model_validate(tomllib.loads(track_of(searches, 90.0)))
    budgets = [method.budget.seconds for method in track.methods if method.budget is not None]
    assert budgets == [15.0, 90.0]
    assert track.splits.val_fraction == 0.2
    with pytest.raises(UserError, match=r"sdl: 6 points in 0\.01 s"):
        track_of(searches, 0.01)


values = st.recursive(
    st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False) | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
    max_leaves=8,
)  # fmt: skip


@given(values)
def test_values_are_written_as_toml_reads_them(value: object) -> None:
    assert tomllib.loads(f"value = {as_toml(value)}") == {"value": value}
