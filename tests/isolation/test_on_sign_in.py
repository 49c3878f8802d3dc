"""The escapes that are about the box, from a session on a person's own sign-in."""

from __future__ import annotations

import pytest

from tests.isolation.probe import Probe
from tests.isolation.signed_in import ON_SIGN_IN, SignedInWorld
from tests.isolation.world import World

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(600),  # the first test waits until all probes were tried
]
PROBES = [probe for table in ON_SIGN_IN.values() for probe in table]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_it_fails_on_a_sign_in_too(on_sign_in: World, probe: Probe) -> None:
    """No attempt succeeds, nor shows any secret by the way. That each succeeds without the sandbox
    shows beside the same table in `test_probes.py`."""
    output = on_sign_in.output[probe.name]
    assert not on_sign_in.succeeded(probe), output[-2000:]
    assert on_sign_in.leaked(output) == [], output[-2000:]


def test_they_ran_on_the_sign_in(on_sign_in: World) -> None:
    """So these were other sessions than those of the table: the account's model was asked."""
    assert isinstance(on_sign_in, SignedInWorld)
    for name in ON_SIGN_IN:
        asked = f"bash probes/own-{name}.run"
        assert any(asked in str(request.body) for request in on_sign_in.own.requests)
        assert not any(asked in str(request.body) for request in on_sign_in.model.requests)
