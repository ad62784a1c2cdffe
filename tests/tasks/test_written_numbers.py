"""Numbers as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.tasks.written_numbers import WrittenNumberError, read_numbers

MINUS = chr(0x2212)


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1", "-2", "+3", "007"], [1, -2, 3, 7]),
        (["1.5", "1e5", ".5"], [1.5, 1e5, 0.5]),
        (["$3,800.00", "$1.50", "12"], [3800, 1.5, 12]),
        (["$1,000", "$12,000"], [1000, 12000]),
        (["1 234,5", "0,5"], [1234.5, 0.5]),
        (["1\u202f234", "1\u00a0234\u00a0567"], [1234, 1234567]),
        (["1.234.567,8", "2"], [1234567.8, 2]),
        (["1'234.5", "2"], [1234.5, 2]),
        (["₹12,34,567", "₹1"], [1234567, 1]),
        (["45 %", "3%"], [45, 3]),
        (["(300)", "20", "($5)"], [-300, 20, -5]),
        (["$(1,300.50)", "$ (2)", "$3"], [-1300.5, -2, 3]),
        (["(4.5)%", "(2%)", "1%"], [-4.5, -2, 1]),
        ([MINUS + "5", "5-", "$-1", "-$2"], [-5, -5, -1, -2]),
        (["1e5 €", "2 €"], [1e5, 2]),
        (["12 kg", "3 kg"], [12, 3]),
        (["USD 5.5", "USD 6"], [5.5, 6]),
        ([str(2**60 + 1)], [2**60 + 1]),
    ],
)
def test_they_are_read(texts, numbers):
    value = read_numbers(texts).value
    assert [value[text] for text in texts] == numbers


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["1,234", "5,678"], "--decimal"),
        (["5 kg", "3 lb"], "units"),
        (["5%", "3"], "units"),
        (["$5", "5 €"], "units"),
        (["$1k", "$2M"], "units"),
        (["A12", "A13"], "no number"),
        (["2020-01-01"], "no number"),
        (["12:30"], "no number"),
        (["1_000"], "no number"),
        (["0x1f"], "no number"),
        (["1,23,4"], "no number"),
        (["--5"], "no number"),
        (["5 (3)", "(a)", "a(5)"], "no number"),
        (["1e999"], "too large"),
        (["5", "."], "no number"),
        (["$", "5"], "no number"),
        ([","], "no number"),
    ],
)
def test_others_are_not_guessed(texts, reason):
    with pytest.raises(WrittenNumberError, match=reason):
        read_numbers(texts)


def test_the_decimal_mark_decides():
    assert read_numbers(["1,234"], ",").value == {"1,234": 1.234}
    assert read_numbers(["1,234"], ".").value == {"1,234": 1234}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_a_written_float_is_read_as_itself(floats):
    value = read_numbers(map(repr, floats)).value
    assert all(value[repr(number)] == number for number in floats)


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1))
def test_thousands_and_cents(cents):
    texts = [f"{'-' * (n < 0)}${abs(n) // 100:,}.{abs(n) % 100:02d}" for n in cents]
    value = read_numbers(texts).value
    assert all(math.isclose(value[text], n / 100) for text, n in zip(texts, cents, strict=True))


@given(st.lists(st.text("0123456789.,-+() $%'eEk€", max_size=12).map(str.strip).filter(bool), min_size=1, max_size=3))
def test_any_text_is_finite_or_an_error(texts):
    try:
        value = read_numbers(texts).value
    except WrittenNumberError:
        return
    assert set(value) == set(texts) and all(map(math.isfinite, value.values()))
