from __future__ import annotations

import pytest

from batchling.testing import ProviderServer
from tests.sdks.scopes import scope

dspy = pytest.importorskip("dspy", reason="not installed: tox -e sdk-dspy")
LM15 = tuple(map(int, dspy.__version__.split(".")[:2])) >= (3, 4)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.skipif(not LM15, reason="this dspy has no sockets of its own")
def test_calls_through_its_own_sockets_are_reported(
    provider_server_at_real_hosts: ProviderServer, capsys: pytest.CaptureFixture[str]
) -> None:
    model = dspy.LM("openai/m", api_key="sk-1", cache=False)
    with scope():
        assert model("hi")

    report = capsys.readouterr().err
    assert "went real time" in report
    assert 'use dspy.LM(..., engine="litellm")' in report
    assert len(provider_server_at_real_hosts.billed(batch=False)) == 1


def test_parallel_threads(server: ProviderServer) -> None:
    options = {"engine": "litellm"} if LM15 else {}
    model = dspy.LM("openai/m", api_key="sk-1", cache=False, **options)
    predict = dspy.Predict("question -> answer")
    with scope(), dspy.context(lm=model):
        # timeout=0: dspy asks stragglers a second time otherwise.
        parallel = dspy.Parallel(num_threads=6, timeout=0, disable_progress_bar=True)
        answers = parallel([(predict, {"question": f"question {n}"}) for n in range(6)])

    assert len({answer.answer for answer in answers}) == 6
    assert sum(server.jobs().values()) == 6
