"""Where values come from: the file, the environment, the flags."""

from __future__ import annotations

import os
from collections.abc import Mapping as Environment
from collections.abc import Sequence as Words
from pathlib import Path

from yoyo.config.document import Mapping, Scalar, Tree, parse
from yoyo.config.key import Key
from yoyo.config.mistakes import UNSAFE, Origin, Report, nearest, printable, quoted
from yoyo.config.schema import LIST_KINDS, NODE_KEYS, SECTIONS, TOP_KEYS, TOP_SECTIONS
from yoyo.errors import ConfigInvalid, ConfigNotFound
from yoyo.model.ids import InvalidLabel, NodeName

FILE_NAME = "yoyo.yaml"
# Read elsewhere: which file, which node, and what belongs to the command line alone.
_RESERVED = ("YOYO_CONFIG", "YOYO_NODE", "YOYO_DEBUG", "YOYO_JSON",
             "YOYO_IDENTITY_TOKEN", "YOYO_KEY_PASSWORD", "YOYO_CONVERTER_PYTHON")  # fmt: skip

Raw = dict[str, Tree]  # key path -> what was written


def find_file(explicit: Path | None, env: Environment[str, str], cwd: Path) -> tuple[Path, bool]:
    """The file, and whether it is the one in the XDG configuration directory.

    Raises:
        ConfigNotFound.
        ConfigInvalid: it was found on the way up, and belongs to another user.
    """
    xdg = _xdg(env, "XDG_CONFIG_HOME", ".config")
    # However the file was found (`monitor install` writes --config): one file, one state.
    in_xdg = os.path.normpath(xdg / "yoyo" / FILE_NAME) if xdg is not None else ""
    named = explicit or (Path(env["YOYO_CONFIG"]) if env.get("YOYO_CONFIG") else None)
    if named is not None:
        path = cwd / named
        if not os.path.lexists(path):
            raise ConfigNotFound(
                f"There is no file {printable(str(named))}.",
                why="It was named by " + ("--config." if explicit else "YOYO_CONFIG."),
                fix="Correct the name, or run `yoyo init` to write one.",
            )
        return path, os.path.normpath(path) == in_xdg
    for directory in (cwd, *cwd.parents):
        path = directory / FILE_NAME
        if os.path.isfile(path):  # noqa: PTH113 - False, not an error, where nothing may be seen
            _refuse_strangers(path)
            return path, os.path.normpath(path) == in_xdg
    if xdg is not None and os.path.lexists(xdg / "yoyo" / FILE_NAME):
        return xdg / "yoyo" / FILE_NAME, True
    raise ConfigNotFound(
        f"No {FILE_NAME} was found.",
        why=f"Looked in {printable(str(cwd))} and above"
        + (f", and in {printable(str(xdg / 'yoyo'))}." if xdg else "."),
        fix="Run `yoyo init` to write one here, or name one with --config.",
    )


def _refuse_strangers(path: Path) -> None:
    """A file that was only come across must be ours or root's: it names programs to run.

    Raises:
        ConfigInvalid.
    """
    owner = path.stat().st_uid
    if owner not in (os.geteuid(), 0):
        shown = printable(str(path))
        raise ConfigInvalid(
            f"{shown} belongs to somebody else and is not used.",
            why=f"Its owner is user {owner}; a configuration decides which programs are run.",
            fix=f"If you trust it, name it: --config {shown}",
        )


def state_home(env: Environment[str, str], cwd: Path) -> Path:
    """Where state lives for the file in the XDG configuration directory."""
    return (_xdg(env, "XDG_STATE_HOME", ".local/state") or cwd) / "yoyo"


def _xdg(env: Environment[str, str], name: str, default: str) -> Path | None:
    value = env.get(name, "")
    if value.startswith("/"):  # the specification: relative values are to be ignored
        return Path(value)
    home = env.get("HOME", "")
    return Path(home, default) if home.startswith("/") else None


def from_file(tree: Tree | None, report: Report) -> tuple[Raw, dict[str, Origin]]:
    """The values of the file by key path, and the nodes with their positions."""
    raw: Raw = {}
    nodes: dict[str, Origin] = {}
    if tree is None:
        return raw, nodes
    if not isinstance(tree, Mapping):
        report.add(tree.at, "", "expected keys such as `version:` and `nodes:` at the top")
        return raw, nodes
    top = {key.path for key in TOP_KEYS if "." not in key.path}
    for name, value in _pairs(tree, "", {*top, *TOP_SECTIONS, "nodes"}, report):
        if name == "nodes":
            _nodes(value, raw, nodes, report)
        elif name in TOP_SECTIONS:
            _section(name, value, "", TOP_KEYS, raw, report)
        else:
            raw[name] = value
    if not nodes and not report.mistakes:
        report.add(tree.at, "nodes", "is missing: without a node there is nothing to do")
    return raw, nodes


def _nodes(tree: Tree, raw: Raw, nodes: dict[str, Origin], report: Report) -> None:
    if not isinstance(tree, Mapping):
        report.add(tree.at, "nodes", "expected a mapping from node names to nodes")
        return
    direct = {key.path for key in NODE_KEYS if "." not in key.path}
    for name, value in _pairs(tree, "nodes", None, report):
        path = f"nodes.{name}"
        try:
            NodeName.parse(name)
        except InvalidLabel as error:
            report.add(_key_at(tree, name), "nodes", f"node name {error}")
            continue
        nodes[name] = _key_at(tree, name)
        if not isinstance(value, Mapping):
            report.add(value.at, path, "expected a mapping with `moduleId:` and `driver:`")
            continue
        for key, inner in _pairs(value, path, {*direct, *SECTIONS}, report):
            if key in SECTIONS:
                _section(key, inner, f"{path}.", NODE_KEYS, raw, report)
            else:
                raw[f"{path}.{key}"] = inner


def _section(
    section: str, tree: Tree, path: str, keys: tuple[Key, ...], raw: Raw, report: Report
) -> None:
    prefix = f"{section}."
    known = {key.path.removeprefix(prefix) for key in keys if key.path.startswith(prefix)}
    if not isinstance(tree, Mapping):
        if not (isinstance(tree, Scalar) and not tree.quoted and tree.text in ("", "~", "null")):
            report.add(tree.at, f"{path}{section}", "expected a mapping")
        return
    for key, value in _pairs(tree, f"{path}{section}", known, report):
        raw[f"{path}{section}.{key}"] = value


def _pairs(
    tree: Mapping, path: str, known: set[str] | None, report: Report
) -> list[tuple[str, Tree]]:
    """The good pairs; unknown, double and unreadable keys are reported."""
    seen: dict[str, Tree] = {}
    for key, value in tree.pairs:
        if not isinstance(key, Scalar):
            report.add(key.at, path, "a key must be a plain word")
            continue
        name = key.text
        full = f"{path}.{name}" if path else name
        if known is not None and name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"known here: {', '.join(sorted(known))}"
            report.add(key.at, full, f"unknown key; {hint}")
        elif name in seen:
            report.add(key.at, full, "stands twice. Remove one of the two")
        else:
            seen[name] = value
    return list(seen.items())


def _key_at(tree: Mapping, name: str) -> Origin:
    return next(key.at for key, _ in tree.pairs if isinstance(key, Scalar) and key.text == name)


def key_paths(nodes: Words[str]) -> dict[str, str]:
    """Every settable key path with its kind."""
    paths: dict[str, str] = {key.path: key.kind for key in TOP_KEYS}
    for node in nodes:
        paths |= {f"nodes.{node}.{key.path}": key.kind for key in NODE_KEYS}
    return paths


def variable_of(path: str) -> str:
    """The environment variable that overrides a key."""
    return "YOYO_" + path.replace(".", "__").replace("-", "_").upper()


def from_env(env: Environment[str, str], nodes: Words[str], report: Report) -> Raw:
    """The values of the YOYO_* variables."""
    given = [name for name in env if name.startswith("YOYO_") and name not in _RESERVED]
    if not given:
        return {}
    paths = key_paths(nodes)
    by_variable = {variable_of(path): path for path in paths}
    raw: Raw = {}
    for name in sorted(given):
        path = by_variable.get(name)
        if path is None:
            near = nearest(name, [*by_variable, *_RESERVED])
            hint = f"did you mean {near}?" if near else "see docs/configuration.md"
            report.add(Origin(printable(name)), "", f"unknown variable; {hint}")
            continue
        _put(raw, path, paths[path], env[name], name, report)
    return raw


def from_sets(sets: Words[str], nodes: Words[str], report: Report) -> Raw:
    """The values of --set KEY=VALUE; the last one for a key wins."""
    paths = key_paths(nodes) if sets else {}
    raw: Raw = {}
    for item in sets:
        path, equals, text = item.partition("=")
        if not equals:
            report.add(Origin("--set"), "", f"{quoted(item)} is not KEY=VALUE")
        elif path not in paths:
            near = nearest(path, paths)
            hint = f"did you mean {near}?" if near else "`yoyo config show` lists them"
            report.add(Origin("--set"), path, f"unknown key; {hint}")
        elif paths[path] == "secret":
            report.add(
                Origin("--set"),
                path,
                "a secret on a command line can be read by everybody on this machine. "
                f"Set {variable_of(path)} instead",
            )
        else:
            _put(raw, path, paths[path], text, "--set", report)
    return raw


def _put(raw: Raw, path: str, kind: str, text: str, label: str, report: Report) -> None:
    if kind not in LIST_KINDS:
        raw[path] = Scalar(text, False, Origin(label))
        return
    if UNSAFE.search(text):  # the parser could not even encode what is not UTF-8
        report.add(Origin(label), path, f"{quoted(text)} holds a control character. Remove it")
        return
    tree = parse(text, label, report, in_file=False)
    if tree is not None:
        raw[path] = tree
