"""The one configuration, read from TOML; an unknown key is refused with its path."""

from __future__ import annotations

import copy
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mmspec.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which target to serve and in what arithmetic."""

    path: str = "nano"  # "nano", a folder, or a hub id
    name: str | None = None  # the id clients use; None: the folder's name
    dtype: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    device: str = "cpu"
    numerics: Literal["bitwise", "near-tie"] = "bitwise"
    max_context: int | None = None  # None: what the model's config allows
    threads: int | None = None  # None: torch's default


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the loop spends memory and steps."""

    max_sequences: int = 32
    max_queue: int = 256
    cache_bytes: int = 4 << 30  # address space for keys and values; touched pages alone cost memory
    drafter_bytes: int = 4 << 30  # what drafters may hold of all sequences in flight, besides
    step_tokens: int = 512  # rows of one step: tree nodes and prefill tokens together
    # Of the time, that reading a long prompt (more than step_tokens) may take while others stream.
    prefill_share: Annotated[float, Meta(gt=0, le=1)] = 0.4
    chunk: int = 256  # prefill grid; bits of a prompt's keys depend on it, so it never varies
    max_nodes: int = 16  # nodes of one verified tree, root included
    max_depth: int = 16
    tree_rows: int = 64  # rows the trees of one step share; more sequences get smaller trees
    # Tokens expected of free guesses from which no model is asked to draft; None: learned.
    enough: float | None = None
    # How several drafters' guesses become one tree; see ``mmspec.core.fuse``.
    fusion: Literal["calibrated", "union", "rasd", "switch"] = "calibrated"
    judge_rounds: int = 64  # after so many it is measured whether a drafter pays; 0: never
    judge_floor: float = 1.03  # of plain decoding: who pays less falls silent, and is tried later
    long_from: int = 4096  # tokens of a prompt from which drafters for long texts come first
    prefix_cache: bool = True
    pinned_bytes: int = 1 << 30  # keys and values of documents that outlive other prompts
    transfer: bool = False  # whether a request may have a drafter's law tilt the target's: lossy
    picture_cache_bytes: int = 256 << 20  # features of pictures kept; 0: shared between no requests

    @property
    def grid(self) -> int | None:
        """The prefill grid on which prompts are shared; None: none are."""
        return self.chunk if self.prefix_cache else None


class ServeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The door: addresses and limits."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()  # empty: no key is asked for
    max_body_bytes: int = 64 << 20
    max_image_bytes: int = 20 << 20
    max_image_pixels: int = 40_000_000
    max_image_side: int = 16_384
    max_images: int = 16
    request_seconds: float = 600.0


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What clients may leave here: where it lies, how much there may be, and for how long."""

    directory: str | None = None  # None: a private folder that goes with the process
    max_file_bytes: int = 512 << 20
    owner_bytes: int = 2 << 30  # all files of one API key together
    owner_files: int = 1000
    ttl_seconds: int = 86_400  # where an upload says nothing; 0: kept until deleted
    sweep_seconds: float = 60.0  # how often what has expired is removed
    uploads: int = 16  # at a time
    upload_seconds: float = 600.0  # one upload, from its first byte to its last


class FilesConfig(StoreConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Uploaded files."""


class DocumentsConfig(StoreConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Documents: of each the text that was read out of it is kept, and counts."""

    max_file_bytes: int = 64 << 20  # as sent
    max_text_bytes: int = 16 << 20  # as read
    owner_bytes: int = 256 << 20
    uploads: int = 4
    upload_seconds: float = 120.0
    per_request: int = 8  # in one conversation
    readers: int = 2  # processes that read documents at a time
    read_seconds: float = 30.0  # for one document, of time and of processor
    read_bytes: int = 1 << 30  # address space of one reader
    pages: int = 2000  # of a PDF


class FetchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Pictures named by URL: off unless enabled, and then public addresses only."""

    enabled: bool = False
    hosts: tuple[str, ...] = ()  # "a.org" that host, ".a.org" all below it; empty: any
    schemes: tuple[Literal["https", "http"], ...] = ("https",)
    ports: tuple[int, ...] = (443, 80)
    max_bytes: int = 20 << 20  # one picture
    request_bytes: int = 64 << 20  # all pictures of one request together
    seconds: float = 5.0  # all pictures of one request together, redirects included
    redirects: int = 3
    requests: int = 8  # that may hold fetched pictures at a time


Drafters = dict[str, dict[str, dict[str, Any]]]
# They suit every model.
QUOTING: Drafters = {"retrieval": {"suffix": {}, "recycling": {}, "prediction": {}}}
# By the name of a bundled model: what was trained for it.
TRAINED: dict[str, Drafters] = {
    "nano": {
        # Layer 1 looks up what is copied: what it attends to is all that they need to see.
        "text": {"eagle": {"path": "nano-eagle", "pages": 4, "looks": [1]}},
        "vision": {"vispec": {"path": "nano-vispec"}},
        "longctx": {
            "longspec": {"path": "nano-longspec", "pages": 4, "looks": [1]},
            "rapid": {
                "path": "nano-lm",
                "longer_than": 4096,
                "passage": 256,
                "at_least": 1536,
                "at_most": 2048,
                "head": 32,
                "tail": 128,
                "answer": 512,
            },
        },
    }
}


class Unsaid(dict[str, dict[str, dict[str, Any]]]):
    """No drafters were named, not even that there shall be none: those that suit the model."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a server or an ``LLM`` is built from.

    ``drafters`` maps wing -> name -> options; the table header is the drafter's address:
    ``[drafters.retrieval.suffix]`` is ``mmspec/retrieval/suffix.py``. Where nothing is said, those
    that suit the model: the ones that need no weights, and a bundled model's own.
    """

    model: ModelConfig = ModelConfig()
    engine: EngineConfig = EngineConfig()
    serve: ServeConfig = ServeConfig()
    files: FilesConfig = FilesConfig()
    documents: DocumentsConfig = DocumentsConfig()
    fetch: FetchConfig = FetchConfig()
    drafters: Drafters = msgspec.field(default_factory=Unsaid)

    def __post_init__(self) -> None:
        if isinstance(self.drafters, Unsaid):
            # Still Unsaid, so that a configuration for another model finds that one's own.
            suits = Unsaid(copy.deepcopy(TRAINED.get(self.model.path, {}) | QUOTING))
            msgspec.structs.force_setattr(self, "drafters", suits)


def parse(text: str) -> Config:
    """Read a configuration from TOML text.

    Raises:
        ConfigError: not TOML, or a key that is unknown or mistyped, named by its path.
    """
    try:
        return msgspec.convert(tomllib.loads(text), Config)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}") from error


def load(path: Path) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    if not path.is_file():
        raise ConfigError(f"no configuration file at {path}")
    return parse(path.read_text(encoding="utf-8"))
