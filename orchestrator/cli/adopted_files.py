"""The files of an engine that is taken over: made of what it was started with, and written only where none are."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import beginnings
from orchestrator.cli import taken_over
from orchestrator.cli.context import Context
from orchestrator.errors import InputError
from orchestrator.find import display
from orchestrator.from_command import Taken
from orchestrator.model import Environment, Profile, RuntimeSpec
from orchestrator.running import Running
from orchestrator.scaffold import environment_text, profile_text


@dataclass(frozen=True, slots=True)
class Files:
    """``profile`` and ``environment`` as they are read back from the files. ``told`` is the environment that the
    command itself tells of. ``new`` are (file, text), without the environment's where that is there already."""

    profile: Profile
    environment: Environment
    told: Environment
    new: tuple[tuple[Path, str], ...]

    @property
    def names(self) -> str:
        return " and ".join(display(file) for file, _ in self.new)

    @property
    def text(self) -> str:
        return "\n".join(f"# {display(file)}\n{text}" for file, text in self.new)

    def check_free(self) -> None:
        """Raises InputError: what is there is never replaced."""
        for file, _ in self.new:
            if there := beginnings.existing(file):
                use = "use it with --environment, or " if file.parent.name == "environments" else ""
                raise InputError(
                    f"write {display(file)}", f"{display(there)} is there already", f"{use}give another name"
                )

    def written_for(self, act: Callable[[], int], recorded: Callable[[], bool]) -> int:
        """Writes them and acts; takes them away again unless what they say was then ``recorded``."""
        done: list[Path] = []
        try:
            for file, text in self.new:
                beginnings.write_new(file, text, force=False)
                done.append(file)
            return act()
        finally:
            if not recorded():
                for file in done:
                    file.unlink(missing_ok=True)


def files_of(here: Context, taken: Taken, engine: Running, name: str | None, environment: str | None) -> Files:
    """``environment`` names one that is there; without it there will be one that is called like the deployment. Raises
    InputError."""
    project = beginnings.project(here.root)
    name = name or taken.profile.name
    pid = engine.process.pid
    new: list[tuple[Path, str]] = []
    if environment is not None:
        beginnings.check_name(environment, "--environment")
        wanted = here.environment(environment)
        told = taken_over.environment(taken, wanted, new=False)
    else:
        if taken.runtime is None:
            do = "write an environment for it, and name that with --environment"
            raise InputError(f"adopt process {pid}", "which Python it runs in cannot be told", do)
        told = taken_over.environment(taken, Environment(name, RuntimeSpec("self")), new=True)
        head = (f"What pid {pid} was started in, taken over by `orch adopt`.",)
        folder = here.root / "environments"
        text = environment_text(told, head, project.schema("environment", folder))
        wanted = beginnings.check_environment_text(text, name)
        new.append((folder / f"{name}.yaml", text))
    file = here.root / "profiles" / f"{name}.yaml"
    project.free_name(name, file)
    head_line = f"What pid {pid} was started with, taken over by `orch adopt`."
    drafted = taken_over.draft(taken, name, wanted.name, head_line, project.schema("profile", file.parent))
    text = profile_text(drafted)
    profile = beginnings.check_profile_text(text, name)
    profile = replace(profile, source=replace(profile.source, file=display(file)))
    return Files(profile, wanted, told, ((file, text), *new))
