"""What every command does first and last: settings, output, progress, signals."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from yoyo.cli.output import Output, PlainProgress
from yoyo.errors import Interrupted, NodeUnknown, NotSupported

if TYPE_CHECKING:
    from yoyo.config.load import Flags, Loaded
    from yoyo.config.mistakes import Mistake
    from yoyo.model.settings import NodeSettings
    from yoyo.ops.adapters.context import AdapterContext
    from yoyo.ops.context import Context
    from yoyo.ops.store_context import StoreContext
    from yoyo.ports.progress import Progress


BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for a reader that went away


class Session:
    """One run of one command."""

    def __init__(
        self,
        *,
        json: bool,
        node: str | None = None,
        config: Path | None = None,
        sets: list[str] | None = None,
    ) -> None:
        self.out = Output(json=json)
        self._node = node
        self._config = config
        self._sets = tuple(sets or ())
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> "Loaded":
        """The effective configuration, read once.

        Raises:
            ConfigInvalid, ConfigNotFound, NodeUnknown.
        """
        if self._loaded is None:
            from yoyo.config.load import load

            self._loaded = load(self._flags(), os.environ, _cwd())
        return self._loaded

    def mistakes(self) -> "list[Mistake]":
        """Everything that is wrong with the configuration.

        Raises:
            ConfigNotFound.
        """
        from yoyo.config.load import validate

        return validate(self._flags(), os.environ, _cwd())

    def _flags(self) -> "Flags":
        from yoyo.config.load import Flags

        return Flags(config=self._config, node=self._node, sets=self._sets)

    def one_node(self) -> "NodeSettings":
        """The node that the command is about.

        Raises:
            NodeUnknown: the file has several, and none was named.
        """
        node = self.loaded.node
        if node is None:
            names = ", ".join(each.name for each in self.loaded.settings.nodes)
            raise NodeUnknown(
                "Several nodes are configured and none was named.",
                why=f"The file has: {names}.",
                fix="Say --node NAME, set YOYO_NODE, or write `default_node:` in yoyo.yaml.",
            )
        return node

    def nodes(self) -> "tuple[NodeSettings, ...]":
        """The named node, or all of them."""
        if self._node is not None or "YOYO_NODE" in os.environ:
            return (self.one_node(),)
        return self.loaded.settings.nodes

    def context(
        self, node: "NodeSettings | None" = None, progress: "Progress | None" = None
    ) -> "Context":
        """The node with its drivers."""
        from yoyo.wiring import context_for

        node = node or self.one_node()
        shown = progress or PlainProgress(self.out)
        return context_for(self.loaded.settings, node, shown, os.environ)

    @contextmanager
    def working(self) -> "Iterator[Context]":
        """The node with a progress display that ends with the block."""
        from yoyo.wiring_adapters import extra_needed

        with self.showing() as display, extra_needed():
            yield self.context(progress=display)

    @contextmanager
    def showing(self) -> "Iterator[Progress]":
        """A progress display that ends with the block."""
        if self.out.live:
            from yoyo.cli.progress import LiveProgress

            display: LiveProgress | PlainProgress = LiveProgress(self.out)
        else:
            display = PlainProgress(self.out)
        with display:
            yield display

    @contextmanager
    def on_store(self) -> "Iterator[StoreContext]":
        """The store, with a progress display that ends with the block."""
        from yoyo.cli.transfer import TransferProgress
        from yoyo.ops.store_rows import settle
        from yoyo.wiring import store_context_for

        with TransferProgress(self.out) as display:
            ctx = store_context_for(self.loaded.settings, self.loaded.node, os.environ, display)
            settle(ctx)
            try:
                yield ctx
            finally:
                ctx.transfers.close()

    @contextmanager
    def on_adapters(self) -> "Iterator[AdapterContext]":
        """Registry file and registries, with a progress display that ends with the block."""
        from yoyo.cli.transfer import TransferProgress
        from yoyo.ops.adapters.rows import settle_if_free
        from yoyo.wiring_adapters import adapter_context_for, extra_needed

        with TransferProgress(self.out) as display, extra_needed():
            ctx = adapter_context_for(self.loaded.settings, os.environ, display)
            try:
                settle_if_free(ctx)
                yield ctx
            finally:
                ctx.close()


@contextmanager
def session(
    *,
    json: bool = False,
    node: str | None = None,
    config: Path | None = None,
    sets: list[str] | None = None,
) -> Iterator[Session]:
    """Run a command: SIGTERM is handled as SIGINT is, and both end in exit code 130.

    Raises:
        Interrupted.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield Session(json=json, node=node, config=config, sets=sets)
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(BROKEN_PIPE) from None
    except KeyboardInterrupt as error:
        raise Interrupted(
            "Interrupted.",
            fix="Run the same command again: it goes on, or finds what is done. What is under way "
            "on a node, `yoyo status` shows.",
        ) from error


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _cwd() -> Path:
    try:
        return Path.cwd()
    except OSError:
        # The working directory was removed under us; an explicit --config still works.
        return Path("/")


def remote_sets(
    wanted: dict[str, tuple[str, str | None]],
    *,
    node: str | None,
    config: Path | None,
    sets: list[str] | None,
) -> list[str]:
    """Options of one command as settings of the node: `--set nodes.NAME.KEY=VALUE`.

    `wanted` has key and value by the option's name; None: it was not given.

    Raises:
        NotSupported: the node's driver knows none of them.
    """
    chosen = Session(json=False, node=node, config=config, sets=sets).one_node()
    given = {name: each for name, each in wanted.items() if each[1] is not None}
    if chosen.gce is None:
        raise NotSupported(
            f"{', '.join(given)} means nothing for {chosen.name}.",
            why=f"Its driver is {chosen.driver}.",
            fix="Leave it out, or name a node of driver gce.",
        )
    return [f"nodes.{chosen.name}.{key}={value}" for key, value in given.values()]
