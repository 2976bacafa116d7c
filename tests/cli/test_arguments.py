from __future__ import annotations

from typing import Optional

import pytest

from batchling.cli.arguments import scan
from batchling.cli.script import fit
from batchling.errors import ScriptError


def test_options_may_stand_anywhere() -> None:
    line = scan(
        "--dry-run a/b.py:foo x --batch-size 7 --name alice --no-cache --batch-window-seconds=1.5 --count=3".split()
    )

    assert (line.path, line.function) == ("a/b.py", "foo")
    assert line.options == {"dry_run": True, "batch_size": 7, "cache": False, "batch_window_seconds": 1.5}
    assert line.tokens == ("x", "--name", "alice", "--count=3")


def test_every_option_of_a_scope_that_a_shell_can_say() -> None:
    line = scan(
        "a.py:foo --cache-no-results --max-resubmissions 0 --max-batches-in-flight=3 --max-batches-per-hour 9 "
        "--display plain --max-waiting 1000".split()
    )

    assert line.options == {
        "cache": "no-results",
        "max_resubmissions": 0,
        "max_batches_in_flight": 3,
        "max_batches_per_hour": 9,
        "max_waiting": 1000,
        "display": "plain",
    }


def test_after_the_dashes_all_is_the_functions() -> None:
    line = scan("a.py:foo --dry-run -- --dry-run --batch-size x".split())

    assert (line.options, line.tokens) == ({"dry_run": True}, ("--dry-run", "--batch-size", "x"))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("a.py", "script.py:function"),
        ("a.py:", "script.py:function"),
        (":foo", "script.py:function"),
        ("--dry-run", "name a script"),
        ("a.py:foo --batch-size", "needs a value"),
        ("a.py:foo --batch-size=x", "whole number"),
        ("a.py:foo --batch-window-seconds x", "a number"),
        ("a.py:foo --dry-run=yes", "takes no value"),
    ],
)
def test_wrong_syntax_is_one_sentence(words: str, part: str) -> None:
    with pytest.raises(ScriptError, match=part) as caught:
        scan(words.split())
    assert "\n" not in str(caught.value)


def function(a: str, count: int = 1, *rest: str, rate: Optional[float] = None, verbose: "bool" = False) -> None:  # noqa: UP037, UP045
    pass


def anything(*words: str, **named: str) -> None:
    pass


def test_values_follow_the_annotations() -> None:
    assert fit(function, tuple("x -3 y --rate 0.5 --verbose".split())) == (
        ["x", -3, "y"],
        {"rate": 0.5, "verbose": True},
    )
    assert fit(function, tuple("--verbose x --rate=2".split())) == (["x"], {"verbose": True, "rate": 2.0})
    assert fit(function, tuple("--a=x --verbose=no".split())) == ([], {"a": "x", "verbose": False})
    assert fit(anything, tuple("1 --some-name 2 --flag".split())) == (["1"], {"some_name": "2", "flag": True})


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "missing"),
        ("x --nobody 1", "nobody"),
        ("x many", "whole number"),
        ("x --rate fast", "a number"),
        ("x --verbose=perhaps", "true or false"),
        ("x --rate 1 --rate 2", "twice"),
        ("x --1st 2", "argument's name"),
    ],
)
def test_wrong_arguments_are_told_before_anything_runs(words: str, part: str) -> None:
    with pytest.raises(ScriptError, match=part):
        fit(function, tuple(words.split()))
