"""Schedules that publications name."""

import math
from typing import Any

import pytest

from ddl_bench.training.recipe import Recipe, RecipeOptions
from ddl_bench.training.schedules import PublishedRecipe

N_TRAIN = 50_000


def test_the_rate_falls_along_half_a_cosine() -> None:
    recipe = PublishedRecipe(lr=0.1, batch_size=128)
    for share in (0.0, 0.25, 0.5, 0.9, 1.0):
        assert recipe.rate(share, N_TRAIN) == pytest.approx(0.05 * (1 + math.cos(math.pi * share)))
    double = PublishedRecipe(lr=0.1, batch_size=512)
    assert double.rate(0.3, N_TRAIN) == pytest.approx(2 * recipe.rate(0.3, N_TRAIN))


def test_steps_lie_where_they_are_put() -> None:
    recipe = PublishedRecipe(
        lr=0.1, batch_size=128, schedule="steps", milestones=(0.4, 0.8), decay=0.1
    )
    rates = [recipe.rate(share, N_TRAIN) for share in (0.0, 0.39, 0.4, 0.79, 0.8, 1.0)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    just_below = math.nextafter(0.8, 0)  # as a sum over batches may be
    assert recipe.rate(just_below, N_TRAIN) == rates[4]


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_the_rate_rises_first(schedule: str) -> None:
    options: dict[str, Any] = {"lr": 0.1, "batch_size": 128, "schedule": schedule}
    warm = PublishedRecipe(warm_up=0.2, **options)
    cold = PublishedRecipe(**options)
    rates = [warm.rate(share / 1000, N_TRAIN) for share in range(1001)]
    assert rates[0] == 0
    assert rates[:100] == sorted(rates[:100])
    assert rates[100] == pytest.approx(0.05)
    assert rates[201:] == [cold.rate(share / 1000, N_TRAIN) for share in range(201, 1001)]


def test_settings_change_it_like_any_recipe() -> None:
    published = PublishedRecipe(lr=0.1, batch_size=128, warm_up=0.1)
    changed = RecipeOptions(lr=0.2).recipe({"fast": published})
    assert isinstance(changed, PublishedRecipe)
    assert (changed.lr, changed.warm_up, changed.schedule) == (0.2, 0.1, "cosine")
    triangle = RecipeOptions(schedule="triangle").recipe({"fast": published})
    plain = Recipe(lr=0.1, batch_size=128)
    for share in (0.1, 0.5, 0.9):
        assert triangle.rate(share, N_TRAIN) == plain.rate(share, N_TRAIN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"milestones": ()}, "milestones"),
        ({"warm_up": 1.5}, "warm_up=1.5"),
        ({"decay": 0.0}, "decay=0.0"),
        ({"schedule": "exponential"}, "schedule='exponential'"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PublishedRecipe(lr=0.1, **options)
