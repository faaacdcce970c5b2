"""The Dockerfile, read far enough to judge it and to carry out its steps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.deploy.files import ROOT

DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its lines joined, and the stage it is in."""

    stage: str
    word: str
    rest: str


def instructions() -> list[Instruction]:
    """Every instruction of the Dockerfile in order."""
    lines = [
        line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.startswith("#")
    ]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    found, stage = [], ""
    for line in filter(None, map(str.strip, whole.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.rpartition(" AS ")[2]
        found.append(Instruction(stage, word, " ".join(rest.split())))
    return found


def bases() -> list[tuple[str, str]]:
    """Base and name of each stage, with the default of an argument in its place."""
    defaults = dict(one.rest.split("=", 1) for one in instructions() if one.word == "ARG")
    found = []
    for rest in words("FROM"):
        base, _, stage = rest.partition(" AS ")
        found.append((re.sub(r"\$\{(\w+)\}", lambda name: defaults[name.group(1)], base), stage))
    return found


def words(word: str, stage: str | None = None) -> list[str]:
    """What follows each `word`, in one stage or in all."""
    return [one.rest for one in instructions() if one.word == word and stage in (None, one.stage)]
