"""What is written about the settings is what the settings are."""

import re
import textwrap
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from backroom.local.settings import RunSettings
from backroom.settings import Settings
from monitoring.exporter.settings import ExporterSettings
from services.api.settings import ApiSettings
from services.worker.support.settings import JobSettings

ROOT = Path(__file__).parents[2]
CLASSES = (RunSettings, Settings, ApiSettings, JobSettings, ExporterSettings)
#: Read where they are needed, and by no class of settings.
OTHERS = {"BACKROOM_SERVER_BINARY", "BACKROOM_URL", "BACKROOM_KEY"}
#: Read by the tests alone.
IN_TESTS = {"BACKROOM_REQUIRE_ENGINE"}
COMPOSE_FILES = sorted(ROOT.glob("*compose*.yml"))


def names_of(cls: type[BaseSettings]) -> dict[str, str]:
    """The environment variables of a class, with the names of their fields."""
    prefix = cls.model_config.get("env_prefix", "")
    return {f"{prefix}{field}".upper(): field for field in cls.model_fields}


def written(default: object) -> str:
    """A default as one would write it in a file of environment variables."""
    if default is None or default in ((), {}):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def listed() -> dict[str, str]:
    """Each variable of `.env.example`, with its default."""
    lines = re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(lines) == len(dict(lines)), "a variable is listed twice"
    return dict(lines)


def read_by_compose() -> dict[str, str | None]:
    """Each variable that the Compose files ask for, with the default they give it (None: they give none)."""
    found: dict[str, str | None] = {}
    for file in COMPOSE_FILES:
        text = file.read_text()
        found |= dict.fromkeys(re.findall(r"^ +([A-Z_]+):$", text, re.MULTILINE))
        found |= dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))
    return found


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_example_says_what_every_setting_is_and_its_default(cls):
    example = (ROOT / ".env.example").read_text()
    for name, field in names_of(cls).items():
        info = cls.model_fields[field]
        assert info.description, f"{name} has no description"
        words = textwrap.fill(
            info.description, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        block = f"{words}\n#{name}={written(info.default)}\n"
        assert f"\n{block}" in example, f"`.env.example` should say:\n{block}"


def test_the_example_has_all_that_compose_reads_with_the_same_defaults():
    settings = {name for cls in CLASSES for name in names_of(cls)}
    for name, default in read_by_compose().items():
        assert name in listed(), f"{name} is missing in .env.example"
        if name not in settings and default is not None:
            assert listed()[name] == default, name


def test_the_example_has_nothing_else():
    known = {name for cls in CLASSES for name in names_of(cls)} | read_by_compose().keys()
    assert listed().keys() - known == OTHERS


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_no_page_speaks_of_a_variable_that_does_not_exist(page):
    spoken_of = set(re.findall(r"\bBACKROOM_[A-Z_]+[A-Z]\b", page.read_text()))
    assert spoken_of - listed().keys() - IN_TESTS == set()
