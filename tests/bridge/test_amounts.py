"""Amounts as people write them: whatever is written is one, or is refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.budgets.amounts import MOST, AmountInvalid, many, money, parse, share, written

USD = st.one_of(
    st.integers(0, 10_000_000_000).map(lambda n: n / 10_000),
    st.sampled_from(["unlimited", "default"]),
)
TURNS = st.one_of(st.integers(0, 100_000).map(float), st.sampled_from(["unlimited", "default"]))
AMOUNTS = st.one_of(
    st.fixed_dictionaries({"usd": USD}),
    st.fixed_dictionaries({"turns": TURNS}),
    st.fixed_dictionaries({"usd": USD, "turns": TURNS}),
)


@given(AMOUNTS)
def test_what_is_written_is_read_again(amounts):
    """Nothing is lost, rounded or taken for the other kind."""
    assert parse(written(amounts)) == amounts


@given(st.text() | st.text(alphabet="0123456789.,$ usdturn-+einflatv\n\u0661", max_size=24))
def test_any_text_is_an_amount_or_is_refused(text):
    """Never another error, never a number out of bounds, never half of what was written."""
    try:
        found = parse(text)
    except AmountInvalid:
        return
    assert found
    for what, amount in found.items():
        assert isinstance(amount, str) or 0 <= amount <= MOST[what]
    digits = [c for c in text if c.isdigit()]
    assert all(c in "0123456789" for c in digits)
    assert bool(digits) == any(isinstance(amount, float) for amount in found.values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5 USD 50 turns", {"usd": 5.0, "turns": 50.0}),
        ("50 turns, $5", {"usd": 5.0, "turns": 50.0}),
        ("5$ and 1 turn", {"usd": 5.0, "turns": 1.0}),
        ("2.5usd", {"usd": 2.5}),
        ("0 dollars", {"usd": 0.0}),
        ("Unlimited turns", {"turns": "unlimited"}),
        ("default", {"usd": "default", "turns": "default"}),
    ],
)
def test_ways_to_write_it(text, found):
    """As people do."""
    assert parse(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5 EUR",
        "-5 USD",
        "5,50 USD",
        "1,000 USD",
        "1e3 USD",
        "5 USD 6 USD",
        "2.5 turns",
        "9999999 USD",
        "5 USD please",
        "5 USD,",
        "USD",
        "nan USD",
        "5USD50turns",
    ],
)
def test_what_is_none(text):
    """Anything that could be meant in two ways is asked again."""
    with pytest.raises(AmountInvalid):
        parse(text)


def test_how_it_is_shown():
    """Short, and nothing that is used up looks as if it were not, or the other way round."""
    assert [money(x) for x in (0, 0.001, 1234.5)] == ["$0.00", "less than $0.01", "$1,234.50"]
    assert [many(x) for x in (950, 1200, 12_000, 3.4e6)] == ["950", "1.2 k", "12 k", "3.4 M"]
    assert [share(x, 5) for x in (0, 4.999, 5, 6)] == ["0 %", "99 %", "100 %", "120 %"]
