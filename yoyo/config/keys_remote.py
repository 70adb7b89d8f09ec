"""The keys of a node at a distance: its model, its engine, and Google Compute Engine."""

from __future__ import annotations

from typing import Final

from yoyo.config.key import (
    ACCOUNT_PATTERN,
    ADDRESS_PATTERN,
    COMMIT_PATTERN,
    DAY_S,
    IMAGE_PATTERN,
    NAME_PATTERN,
    RESOURCE_PATTERN,
    SHA256_PATTERN,
    SOURCE_PATTERN,
    URL_PATTERN,
    ZONE_PATTERN,
    Key,
)

_SOURCE = "an https://, http:// or gs:// address"
_SHA256 = "a sha256: 64 of 0-9 and a-f"

REMOTE_KEYS: Final = (
    Key(
        "weights.sha256", "match", "Digest of the model file; what has another one is refused.",
        absent="none; needed where `engine.model` is an address", pattern=SHA256_PATTERN,
        expected=_SHA256,
    ),
    Key(
        "weights.mirrors", "matches", "More addresses of the same file, tried in order.", "[]",
        high=16, pattern=SOURCE_PATTERN, expected=_SOURCE,
    ),
    Key(
        "bundle.url", "match", "A prebuilt engine (tar.gz, tar.zst) for the node.",
        absent="none: see `bundle.name`", pattern=SOURCE_PATTERN, expected=_SOURCE,
    ),
    Key(
        "bundle.sha256", "match", "Digest of the bundle.", absent="none; needed with `bundle.url`",
        pattern=SHA256_PATTERN, expected=_SHA256,
    ),
    Key(
        "bundle.name", "match",
        "A bundle of the store; `auto` is the newest one that matches node and model, `none` "
        "looks for none.",
        "auto", pattern=NAME_PATTERN, expected="auto, none, or the name of a bundle",
    ),
    Key(
        "build.on_node", "choice",
        "Whether a node that has no bundle builds its engine, which takes half an hour.", "no",
        choices=("no", "yes"),
    ),
    Key(
        "build.repository", "match", "Where llama.cpp is built from when there is no bundle.",
        "https://github.com/ggml-org/llama.cpp", pattern=URL_PATTERN, expected="an https address",
    ),
    # b6900 is the release that the flags in docs/guides/gce.md were read from.
    Key(
        "build.commit", "match", "The pinned commit (or release tag) to build.", "b6900",
        pattern=COMMIT_PATTERN, expected="a commit of 40 hex digits, or a release such as b6900",
    ),
)  # fmt: skip

GCE_KEYS: Final = (
    Key(
        "gce.project", "match", "The project that pays.", absent="none; needed with driver gce",
        pattern="^[a-z][a-z0-9-]{4,28}[a-z0-9]$", expected="a project id",
    ),
    Key(
        "gce.credentials", "path", "A credentials file, as `gcloud` or the console writes it.",
        absent="Application Default Credentials", low=1, high=4096,
    ),
    Key(
        "gce.zones", "matches", "Zones to try, in this order.",
        "[us-central1-a, us-central1-b, us-central1-c]", low=1, high=130, pattern=ZONE_PATTERN,
        expected="a zone such as us-central1-a",
    ),
    Key(
        "gce.machine_type", "match", "The machine type; a G2 brings its L4 with it.",
        "g2-standard-4", pattern=RESOURCE_PATTERN, expected="a machine type such as g2-standard-4",
    ),
    Key(
        "gce.image", "match", "The boot image: a family, or one image.",
        "projects/deeplearning-platform-release/global/images/family/"
        "common-cu129-ubuntu-2404-nvidia-580",
        pattern=IMAGE_PATTERN, expected="projects/PROJECT/global/images/[family/]NAME",
    ),
    Key("gce.disk_gb", "integer", "Size of the boot disk.", "100", unit="GB", low=10, high=65_536),
    Key(
        "gce.disk_type", "choice", "Type of the boot disk.", "pd-balanced",
        choices=("pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"),
    ),
    Key(
        "gce.network", "match", "The VPC network.", "default", pattern=RESOURCE_PATTERN,
        expected="the name of a network",
    ),
    Key(
        "gce.subnetwork", "match", "The subnetwork, by name, in the zone's region.",
        absent="the network's own", pattern=RESOURCE_PATTERN, expected="the name of a subnetwork",
    ),
    Key(
        "gce.traffic", "choice",
        "How the engine is reached: TLS with a pinned certificate, an SSH tunnel, or plain HTTP "
        "inside the VPC.",
        "tls", choices=("tls", "tunnel", "vpc"),
    ),
    Key(
        "gce.controller", "match",
        "The address that engine and SSH are open to; `auto` asks `gce.address_service`.",
        "auto", pattern=ADDRESS_PATTERN, expected="auto, or one IPv4 address",
    ),
    Key(
        "gce.address_service", "match", "Answers with the address it was asked from, as text.",
        "https://checkip.amazonaws.com/", pattern=URL_PATTERN, expected="an https address",
    ),
    Key(
        "gce.ssh_from", "choice", "Where SSH may come from: this controller, or Google's IAP.",
        "controller", choices=("controller", "iap"),
    ),
    Key(
        "gce.provisioning", "choice", "Capacity to ask for; spot is cheaper and may be taken back.",
        "standard", choices=("standard", "spot", "spot-then-standard"),
    ),
    Key(
        "gce.service_account", "match", "Identity of the node, read-only storage scope.",
        absent="none: the node has no cloud credentials", pattern=ACCOUNT_PATTERN,
        expected="the e-mail address of a service account",
    ),
    Key(
        "gce.max_wait", "duration", "How long `up` goes on trying when no zone has capacity.",
        "0s", low=0, high=7 * DAY_S,
    ),
    Key(
        "gce.relocate", "choice",
        "Whether a stopped node whose zone has no capacity may move to another one.", "no",
        choices=("no", "yes"),
    ),
    Key(
        "gce.replace_firewall", "choice",
        "Whether a firewall rule of yoyo's name with other content is replaced.", "no",
        choices=("no", "yes"),
    ),
    Key(
        "gce.api_endpoint", "match", "Another address of the Compute Engine API, for trials.",
        absent="Google's own", pattern=URL_PATTERN, expected="an http(s) address",
    ),
)  # fmt: skip
