"""Secrets' own values, for the one purpose of taking them out of what is shown."""

from contextlib import suppress

from orchestrator.errors import HostError
from orchestrator.model import Deployment
from orchestrator.ports import Eyes


def secret_values(eyes: Eyes, wanted: Deployment) -> tuple[str, ...]:
    """Of a deployment, as far as this process can read them."""
    found = []
    for name, ref in wanted.secret_refs.items():
        with suppress(HostError):
            found.append(eyes.host.secret(name, ref))
    return tuple(found)
