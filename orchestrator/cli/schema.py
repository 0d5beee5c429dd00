"""`orch schema`: the JSON Schema of a file kind, for editors and for reading."""

from enum import StrEnum
from typing import Annotated

import typer


class FileKind(StrEnum):
    PROFILE = "profile"
    ENVIRONMENT = "environment"


def schema(kind: Annotated[FileKind, typer.Argument(help="Of which file.")]) -> int:
    """Print a file's JSON Schema."""
    from orchestrator.load import schema_text

    typer.echo(schema_text(kind.value), nl=False)
    return 0
