"""The catalogue stands as the support article has it."""

from __future__ import annotations

from collections import Counter

import pytest

from processor.core.codes import CATALOGUE, CODES, Category, Stage, parse_code
from processor.errors import Rejected


def test_there_are_thirty_codes_in_four_categories() -> None:
    assert Counter(code.category for code in CATALOGUE) == {
        Category.PROCESSING: 3,
        Category.DELIVERY: 7,
        Category.DISCARDED: 10,
        Category.FAILED: 10,
    }


@pytest.mark.parametrize(
    ("numbers", "stage", "final"),
    [
        ([101, 151, 100, 199], Stage.PROCESSING, False),
        ([102], Stage.REROUTED, False),
        ([200, 222, 299], Stage.SUBMITTED, False),
        ([210, 211, 212, 213], Stage.AT_PROVIDER, False),
        ([300, 301, 333, 399, 400, 414, 499], Stage.UNDELIVERED, True),
        ([220], Stage.DELIVERED, True),
        ([221], Stage.ON_HANDSET, True),
    ],
)
def test_stage_and_finality(numbers: list[int], stage: Stage, final: bool) -> None:
    assert {(CODES[n].stage, CODES[n].final) for n in numbers} == {(stage, final)}


def test_an_unknown_code_has_its_hundreds_category_and_says_so() -> None:
    code = CODES[399]
    assert (code.category, code.known, code.text) == (
        Category.DISCARDED,
        False,
        "Unknown status code 399",
    )


@pytest.mark.parametrize(
    ("raw", "number"),
    [(220, 220), ("220", 220), (" 220\n", 220), ("0220", 220), (499, 499), (100, 100)],
)
def test_a_code_is_an_int_or_digits_with_spaces(raw: object, number: int) -> None:
    assert parse_code(raw) == number


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        " ",
        "abc",
        "220.0",
        "+220",
        "-220",
        "٢٢٠",
        99,
        500,
        999,
        0,
        -220,
        220.0,
        True,
        b"220",
        "9" * 5000,
    ],
)
def test_anything_else_is_rejected(raw: object) -> None:
    with pytest.raises(Rejected) as caught:
        parse_code(raw)
    assert caught.value.reason == "bad_code"
