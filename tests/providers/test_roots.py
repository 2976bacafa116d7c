"""What is below an official root, and what only looks like it: a credential goes to the first, and to no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchling.environment.accounts import is_official
from batchling.providers import PROVIDERS
from batchling.providers.roots import root_of

ROOTS = {root: name for name, provider in PROVIDERS.items() for root in provider.roots}


@pytest.mark.parametrize(("root", "name"), ROOTS.items())
def test_a_root_covers_itself_and_what_is_below(root: str, name: str) -> None:
    there = root.replace("*", "eu-1")
    for url in (there, f"{there}/", f"{there}/a/b:c"):
        found = root_of(url, [root])
        assert found == there
        assert is_official(url, PROVIDERS[name])


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize(
    "star",
    [
        "",
        "evil.test/",
        "evil.test/x",
        "evil.test?",
        "evil.test#",
        "user@evil.test:80/",
        "a:b@c/",
        "evil.test\\",
        "a\nb",
        "é",
    ],
)
def test_what_a_star_never_is(root: str, star: str) -> None:
    scheme, _, rest = root.partition("://")
    host, slash, path = rest.partition("/")
    forged = f"{scheme}://{host.replace('*', star) if '*' in host else star + host}{slash}{path}/x"
    if star or "*" in root:
        assert root_of(forged, [root]) is None


@pytest.mark.parametrize("root", ROOTS)
def test_another_scheme_port_host_or_path_is_another_place(root: str) -> None:
    there = root.replace("*", "eu-1")
    host = there.partition("://")[2].partition("/")[0]
    for url in (
        there.replace("https", "http"),
        there.replace(host, host + ":8443"),
        there.replace(host, host + ".evil.test"),
        there.replace(host, host + "@evil.test"),
        there.replace(host, host.upper()),
        there + "evil",
    ):
        assert root_of(url, [root]) is None


@given(st.sampled_from(list(ROOTS)), st.text(st.characters(codec="utf-8"), max_size=12))
def test_whatever_a_star_is_it_stays_within_the_host(root: str, star: str) -> None:
    url = root.replace("*", star)
    if "*" in root and root_of(url, [root]) is not None:
        assert not set(star) & set("/?#@:\\ \n")
