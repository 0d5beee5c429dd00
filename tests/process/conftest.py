"""The fixture of the deployment scenarios."""

from collections.abc import Callable

import pytest
from deploy_kit import Project
from fakes.sandbox import Sandbox


@pytest.fixture
def project(sandbox: Sandbox, free_port: Callable[[], int]) -> Project:
    """A project whose engines may be left running: the sandbox ends them."""
    sandbox.allow_leftovers()
    return Project(sandbox, free_port)
