"""The registry of apps, recipes and domains: what the command line and the hub list.

An app is listed when its page exists in this installation; a missing extra is shown with the one command that adds it.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from shared.front.extras import install

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class App:
    """One app.

    domain       its domain; the page is served under ``/domain`` and alone by ``suite DOMAIN app``. The laboratory,
                 which is no domain, stands here under its own name
    name         its name within the domain
    title, line  a title and one line for its card
    page         ``module:function``; the function takes the job runner and returns Gradio Blocks
    operations   ``module:attribute`` of the tuple of its operations (command line, API and MCP are made from them)
    extra        the optional dependencies it needs, and ``needs`` the modules by which their absence is seen
    checkpoints  weights that ship with it, relative to the repository root
    picture      picture of its card, relative to the repository root, and what it shows, in words
    """

    domain: str
    name: str
    title: str
    line: str
    page: str
    operations: str
    extra: str
    needs: tuple[str, ...]
    checkpoints: tuple[str, ...] = ()
    picture: str = ""
    shows: str = ""

    @property
    def slug(self) -> str:
        return f"{self.domain}/{self.name}"

    @property
    def path(self) -> str:
        """Where the hub serves its page."""
        return f"/{self.domain}"

    @property
    def built(self) -> bool:
        """Whether the page exists in this installation; looks for the module without importing it."""
        return _exists(self.page.partition(":")[0])

    @property
    def missing(self) -> tuple[str, ...]:
        """Modules of the extra that are not installed."""
        return tuple(module for module in self.needs if importlib.util.find_spec(module) is None)

    @property
    def remedy(self) -> str:
        """The one command that adds what is missing, a part of the installation or a checkpoint; empty when ready."""
        if self.missing:
            return install(self.extra)
        return f"suite train {self.slug}, or restore the file" if self.absent else ""

    @property
    def absent(self) -> list[str]:
        """Checkpoints that are not there."""
        return [path for path in self.checkpoints if not (ROOT / path).is_file()]

    @property
    def status(self) -> str:
        """``ready``, or what stands in the way."""
        if self.missing:
            return f"needs {', '.join(self.missing)}: {self.remedy}"
        return f"checkpoint {self.absent[0]} is missing" if self.absent else "ready"


APPS: Final = (
    App(
        domain="medical",
        name="lesions",
        title="Lesions in brain scans",
        line="Put a lesion of chosen place, size and texture into a scan; everything outside it stays bit-identical.",
        page="domains.medical.app:page",
        operations="domains.medical.cli:OPERATIONS",
        extra="medical",
        needs=("nibabel", "nilearn", "scipy"),
        checkpoints=("domains/medical/lesions/checkpoints/lesions.safetensors",),
        picture="suite/pictures/medical_lesions.png",
        shows="A phantom brain before and after: a synthetic lesion in the white matter of the right picture.",
    ),
    App(
        domain="laboratory",
        name="experiment",
        title="Laboratory",
        line="Compose process, head, sampler and guidance on laws whose exact answer is known, and see what happens.",
        page="suite.laboratory.app:page",
        operations="suite.laboratory.cli:OPERATIONS",
        extra="",
        needs=(),
        picture="suite/pictures/laboratory_experiment.png",
        shows="Paths of a diffusion run bend from a cloud of noise into the two half moons of a known law.",
    ),
    App(
        domain="image",
        name="shapes",
        title="Shapes from words and edges",
        line="Say what a picture shows and draw where its edges are; every result is read again and compared.",
        page="domains.image.app:page",
        operations="domains.image.cli:OPERATIONS",
        extra="image",
        needs=("skimage",),
        checkpoints=(
            "domains/image/control/checkpoints/shapes.safetensors",
            "domains/image/control/checkpoints/edges.safetensors",
        ),
        picture="suite/pictures/image_shapes.png",
        shows="An edge map and three pictures that the app made from it: the drawn contours, coloured by the caption.",
    ),
    App(
        domain="audio",
        name="score",
        title="Music that follows",
        line="Draw what shall happen when, hear it, and let music be made that does it; sound, MIDI and stems.",
        page="domains.audio.app:page",
        operations="domains.audio.cli:OPERATIONS",
        extra="audio",
        needs=("librosa", "mido", "soundfile", "soxr"),
        checkpoints=("domains/audio/score/checkpoints/score.safetensors",),
        picture="suite/pictures/audio_score.png",
        shows="Lanes with a melody and a curve of loudness that were asked, and over them what the made music does.",
    ),
)

RECIPES: Final = {
    "medical/lesions": "domains.medical.lesions.train:train",
    "medical/lesion-reference": "domains.medical.lesions.train:reference",
    "image/shapes": "domains.image.control.train:train",
    "image/shapes-edges": "domains.image.control.train:train_edges",
    "audio/score": "domains.audio.score.train:train",
    "audio/spectrogram": "domains.audio.spectrogram.train:train",
    "audio/spectrogram-control": "domains.audio.spectrogram.train:train_control",
    "audio/vocoder": "domains.audio.spectrogram.vocoder_train:train",
}

DOMAINS: Final = {
    "medical": "Lesions in scans; research use only.",
    "audio": "Music that follows melody, dynamics and rhythm.",
    "motion": "Human motion from prompts, paths and partners.",
    "driving": "Plans for vehicles, in logs and in closed loop.",
    "image": "Pictures controlled, edited and restored; objects in 3-d; garments.",
}


def built_apps() -> tuple[App, ...]:
    """The apps that exist in this installation."""
    return tuple(app for app in APPS if app.built)


def coming_domains() -> tuple[str, ...]:
    """The domains without an app so far."""
    present = {app.domain for app in built_apps()}
    return tuple(domain for domain in DOMAINS if domain not in present)


def domain_built(domain: str) -> bool:
    """Whether a domain has a command line in this installation."""
    return _exists(f"domains.{domain}.cli")


@click.command("apps")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """The apps of this installation and whether each is ready."""
    apps = built_apps()
    if as_json:
        rows = [{"app": app.slug, "title": app.title, "line": app.line, "status": app.status} for app in apps]
        click.echo(json.dumps(rows, indent=1))
        return
    for app in apps:
        click.echo(f"{app.slug}  {app.title}: {app.line}\n    {app.status}")
    commands = [domain for domain in coming_domains() if domain_built(domain)]
    for domain in commands:
        click.echo(f"{domain}  {DOMAINS[domain]}\n    commands, no app yet: suite {domain} --help")
    if coming := [domain for domain in coming_domains() if domain not in commands]:
        click.echo(f"not built yet: {', '.join(coming)}")


def _exists(module: str) -> bool:
    """Whether a module can be found; imports its parent packages only."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
