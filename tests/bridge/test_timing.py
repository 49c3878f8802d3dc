"""When something is due: what can be written, how it is understood, and how it goes over a change
of clocks."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.schedules import zones
from bridge.schedules.timing import NotATime, Timing, read

BERLIN = "Europe/Berlin"
DOCS = Path(__file__).parents[2] / "docs" / "schedules.md"


def at(text: str, zone: str = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def runs(expression: str, after: str, count: int = 3, zone: str = BERLIN) -> list[str]:
    """The next runs by the clocks of the zone, with their distance from UTC."""
    found = islice(Timing(expression, zone).runs(at(after, zone)), count)
    return [f"{datetime.fromtimestamp(t, ZoneInfo(zone)):%d %H:%M %z}" for t in found]


@pytest.mark.parametrize(
    ("said", "words", "zone", "text"),
    [
        ("every weekday at 9:00 check it", "every weekday at 09:00", BERLIN, "check it"),
        ("every weekday at 9:00: check it", "every weekday at 09:00", BERLIN, "check it"),
        ("Every Monday AT 9:00\ncheck\n- it", "every monday at 09:00", BERLIN, "check\n- it"),
        ("every day at 9:00, 17:30 go", "every day at 09:00, 17:30", BERLIN, "go"),
        ("every day at 9:00 in Asia/Tokyo, go", "every day at 09:00", "Asia/Tokyo", "go"),
        ("“every day at 9:00” in our style", "every day at 09:00", BERLIN, "in our style"),
        ("'every day at 9:00': it's fine", "every day at 09:00", BERLIN, "it's fine"),
        ("0 9 * * 1-5 check", "At 09:00 on Monday through Friday", BERLIN, "check"),
        ('"0 9 * * mon" check', "At 09:00 on Monday", BERLIN, "check"),
        ("@daily check", "At 00:00 every day", BERLIN, "check"),
    ],
)
def test_when_and_what(said, words, zone, text):
    """The time is as long as it can be, or in any quotes; what is behind it stays as it is."""
    timing, rest = read(said, BERLIN)
    assert (timing.words, timing.zone, rest) == (words, zone, text)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "Say when"),
        ("every", "not complete"),
        ("every weekday at 9am check", "unknown keyword 'am'"),
        ("every day at 9 check", "expected a time (HH:MM), got '9'"),
        ("every day at 25:00 check", "00:00-23:59"),
        ("every day at 9:61 check", "9:61"),
        ('"every day at 9:00 in Mars/Base" check', "Mars/Base"),
        ("tomorrow check", "unknown keyword 'tomorrow'"),
        ("0 9 * check", "five fields"),
        ('"0 9 * * * *" check', "five fields"),
        ("0 0 30 2 * check", "day-of-month"),
        ("@fortnightly check", "@daily"),
        ('"' + "every day at 9:00 " * 30 + '" check', "300 characters"),
        ("9" * 5000, "300 characters"),
    ],
)
def test_what_is_no_time(said, told):
    """Each mistake is named in words that say which part is wrong."""
    with pytest.raises(NotATime) as caught:
        read(said, BERLIN)
    assert told in str(caught.value)


def test_a_time_that_does_not_exist():
    """On 29 March 2026 in Berlin there is no 2:30. Plain language runs an hour later by the clock,
    cron at the first moment after the gap; both run once and are back the next day."""
    assert runs("every day at 2:30", "2026-03-28T12:00") == [
        "29 03:30 +0200", "30 02:30 +0200", "31 02:30 +0200",
    ]  # fmt: skip
    assert runs("30 2 * * *", "2026-03-28T12:00") == [
        "29 03:00 +0200", "30 02:30 +0200", "31 02:30 +0200",
    ]  # fmt: skip


def test_two_times_that_become_one():
    """2:30 is moved to 3:30, which is due anyway: it runs once."""
    assert runs("every day at 2:30, 3:30", "2026-03-29T00:00") == [
        "29 03:30 +0200", "30 02:30 +0200", "30 03:30 +0200",
    ]  # fmt: skip


def test_a_time_that_happens_twice():
    """On 25 October 2026 in Berlin 2:30 comes twice: it runs the first time only."""
    for expression in ("every day at 2:30", "30 2 * * *"):
        assert runs(expression, "2026-10-24T12:00") == [
            "25 02:30 +0200", "26 02:30 +0100", "27 02:30 +0100",
        ]  # fmt: skip


def test_intervals_over_the_hour_that_happens_twice():
    """Cron with steps goes on through both hours; plain language goes by the clock, once."""
    assert runs("*/30 1-3 * * *", "2026-10-25T01:45", 5) == [
        "25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100", "25 03:00 +0100",
    ]  # fmt: skip
    assert runs("every 30 min from 1:00 to 3:00", "2026-10-25T01:45", 3) == [
        "25 02:00 +0200", "25 02:30 +0200", "25 03:00 +0100",
    ]  # fmt: skip


def test_the_hour_that_clocks_skip_makes_nothing_too_frequent():
    """What lies an hour apart by the clock lies an hour apart, whatever the clocks do."""
    assert Timing("every day at 0:00, 12:00", BERLIN).closest(at("2026-03-28T12:30")) == 43_200
    assert Timing("*/5 * * * *", BERLIN).closest(at("2026-10-24T23:00")) == 300
    assert Timing("0,1 9 * * *", BERLIN).closest(at("2026-03-01T00:00")) == 60
    assert Timing("on 2027-01-31 at 10:00", BERLIN).closest(at("2026-03-01T00:00")) is None


@pytest.mark.parametrize(
    "never",
    [
        "on 2020-01-01 at 10:00",
        "every month on the 31st at 9:00 during feb",
        "every year on feb 29 at 9:00 except feb 29",
        "every 2147483647 weeks on monday at 9:00",
    ],
)
def test_what_never_comes(never):
    """It is known at once that it never does."""
    assert Timing(never, BERLIN).next(at("2026-03-28T12:00")) is None


def test_the_documented_times_are_understood():
    """Every time in docs/schedules.md is one, and means something within ten years."""
    table = DOCS.read_text("utf-8").partition("## When")[2].partition("\n## ")[0]
    written = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(written) > 10
    now = at("2026-11-27T12:00")
    for each in written:
        due = Timing(each, BERLIN).next(now)
        assert due is not None, each
        assert due - now < 10 * 366 * 86_400, each


# ---- zones ----


@pytest.mark.parametrize(
    ("words", "zone"),
    [
        ("Europe/Berlin", BERLIN),
        ("europe/berlin", BERLIN),
        (" berlin ", BERLIN),
        ("New York", "America/New_York"),
        ("utc", "UTC"),
        ("EST", None),
        ("localtime", None),
        ("Mars/Base", None),
        ("../../etc/passwd", None),
        ("", None),
    ],
)
def test_zones(words, zone):
    """A name in any case, or a city that only one zone has; abbreviations are none."""
    assert zones.named(words) == zone


def test_near_zones():
    """A misspelt zone or city finds the right one."""
    assert zones.near("Europe/Berln")[0] == BERLIN
    assert BERLIN in zones.near("berln")
    assert zones.near("xyzzy") == []


# ---- anything ----

_WORDS = [
    "every", "on", "day", "weekday", "weekend", "monday", "fri", "month", "year", "week", "weeks",
    "2", "30", "min", "hours", "from", "to", "at", "9:00", "02:30", "23:59", "the", "1st", "last",
    "31st", "of", "in", "Europe/Berlin", "America/New_York", "except", "until", "starting",
    "during", "feb", "dec", "25", "2027-01-31", ",", "*", "*/5", "0", "1-5", "L", "MON#1", "@daily",
    "nearest", "next", "previous", "first", "5/2", "1,2", "99999999999999999999", "say", "\n", '"',
]  # fmt: skip
_MOMENTS = st.integers(946_684_800, 2_208_988_800)  # 2000 to 2040
_SAID = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(_WORDS), max_size=14).map(" ".join),
    st.lists(
        st.text("0123456789*/,-LW#MONJAE", min_size=1, max_size=6), min_size=5, max_size=6
    ).map(" ".join),
)


@given(_SAID, st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe"]),
       _MOMENTS)  # fmt: skip
def test_anything_is_read_or_refused(said, zone, moment):
    """Whatever is written: it is a time, or `NotATime`. A time's runs always increase, are after
    the moment asked, are whole minutes of the zone's clocks, and the same once it was stored."""
    try:
        timing, _ = read(said, zone)
    except NotATime:
        return
    after = float(moment)
    found = list(islice(timing.runs(after), 6))
    assert all(a < b for a, b in zip([after, *found], found, strict=False))
    for run in found:
        assert datetime.fromtimestamp(run, ZoneInfo(timing.zone)).second == 0
        assert timing.shown(run)
    stored = Timing(timing.expression, timing.zone)
    assert list(islice(stored.runs(after), 6)) == found
    assert (stored.expression, stored.words) == (timing.expression, timing.words)


@given(st.sampled_from(["every day at 2:30", "every 30 min from 0:00 to 23:59", "*/20 * * * *",
                        "30 2 * * *", "every weekday at 0:00, 1:30, 3:00"]),
       st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "America/Santiago",
                        "Africa/Casablanca", "Pacific/Apia"]),
       _MOMENTS)  # fmt: skip
def test_next_is_the_first_of_the_runs(expression, zone, moment):
    """From each run the next one is the same as in one walk over all of them: nothing is lost or
    doubled when it is asked anew after each, over every change of clocks."""
    timing = Timing(expression, zone)
    after = float(moment)
    walk = list(islice(timing.runs(after), 60))
    asked, last = [], after
    for _ in walk:
        last = timing.next(last)
        asked.append(last)
    assert asked == walk
