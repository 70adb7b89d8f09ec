"""What yoyo's resources are called, and the labels that say whose they are."""

from __future__ import annotations

from typing import Final

from yoyo.errors import ConfigInvalid
from yoyo.model.settings import GceSettings, NodeSettings

PREFIX: Final = "yoyo-"
ENGINE_RULE: Final = f"{PREFIX}engine-"  # and the port
TAG: Final = "yoyo"  # the network tag that the firewall rules apply to
NODE, MODULE, REQUEST = "yoyo-node", "yoyo-module", "yoyo-request"
SSH_USER: Final = "yoyo"
ENGINE_PORT: Final = 8443
_MAX_NAME = 63  # RFC 1035, as Google's resource names are
_LONGEST_SUFFIX = len("-20261121-101112")  # of a baked image


def gce_of(node: NodeSettings) -> GceSettings:
    """The node's settings for this driver.

    Raises:
        ConfigInvalid: it has none, or its name is too long for a resource of Google's.
    """
    if node.gce is None:
        raise ConfigInvalid(
            f"Node {node.name} has no `gce` settings.", fix="Add `gce: {project: ...}` to it."
        )
    if len(PREFIX + node.name) + _LONGEST_SUFFIX > _MAX_NAME:
        longest = _MAX_NAME - len(PREFIX) - _LONGEST_SUFFIX
        raise ConfigInvalid(
            f"The node's name {node.name} is too long for Google Compute Engine.",
            why=f"Its resources carry it, and their names end at {_MAX_NAME} characters.",
            fix=f"Give it a name of at most {longest} characters.",
        )
    return node.gce


def instance_name(node: NodeSettings) -> str:
    """The instance's name; its boot disk has the same."""
    return f"{PREFIX}{node.name}"


def port_of(node: NodeSettings) -> int:
    """The engine's port on the node."""
    return node.engine.port or ENGINE_PORT


def model_of(node: NodeSettings) -> str:
    """The model as the operator knows it; on the node it is named by its digest."""
    return node.engine.model.partition("?")[0].rstrip("/").rpartition("/")[2]


def labels_of(node: NodeSettings, request_id: str) -> dict[str, str]:
    """The labels of everything that one life makes."""
    return {NODE: node.name, MODULE: node.module_id, REQUEST: request_id}


def firewall_names(node: NodeSettings) -> tuple[str, str]:
    """The rules for the engine and for SSH; nodes of one port share them."""
    return f"{ENGINE_RULE}{port_of(node)}", f"{PREFIX}ssh"
