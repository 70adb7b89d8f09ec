"""The keys about adapters: where they are registered, whose signatures count, how to sign."""

from __future__ import annotations

from typing import Final

from yoyo.config.key import Key

# HOST[:PORT][/PATH], lower case, as core.oci_names has it.
REPOSITORY_PATTERN: Final = (
    "^[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*){0,8}$"
)
# Two words, or the path of a public key.
_WHO_PATTERN: Final = "^[^\\x00-\\x20]{1,1000}( https?://[^\\x00-\\x20]{3,1000})?$"
_WHO: Final = "`SUBJECT ISSUER`, or in key mode the path of a public key"
_MODES: Final = ("keyless", "key")


def _who(path: str, doc: str) -> Key:
    return Key(path, "matches", doc, "[]", high=32, pattern=_WHO_PATTERN, expected=_WHO)


ADAPTER_KEYS: Final = (
    Key(
        "adapters.registry", "path", "The registry file of adapters, which belongs under version "
        "control.", "memory/adapters/registry.yaml", low=1, high=4096,
    ),
    Key(
        "adapters.repository", "match",
        "Where adapters are pushed to: HOST[:PORT]/PATH; each one becomes a repository under it.",
        absent="none: references are given in full", pattern=REPOSITORY_PATTERN,
        expected="HOST[:PORT]/PATH in lower case",
    ),
    Key(
        "trust.mode", "choice",
        "What is believed: `keyless` identities, or the `key`s of an operator without a way out. "
        "Never both.", "keyless", choices=_MODES,
    ),
    Key(
        "trust.root", "path",
        "The Sigstore trusted root that keyless signatures are checked against, offline.",
        absent="none: needed in keyless mode", low=1, high=4096,
    ),
    _who("trust.signers", "Who may sign an adapter: exact identity and issuer."),
    _who("trust.builders", "Who may state where an adapter comes from (SLSA provenance)."),
    _who("trust.evaluators", "Who may sign off an adapter; never who signed or built it."),
    Key(
        "trust.builder_ids", "matches", "What a provenance may name as its builder.", "[]",
        high=32, pattern="^[^\\x00-\\x20]{1,1000}$", expected="a URI",
    ),
    Key(
        "signing.mode", "choice", "How this machine signs.", "keyless", choices=_MODES,
    ),
    Key(
        "signing.trust_config", "path", "The client trust configuration of a private Sigstore.",
        absent="the public instance", low=1, high=4096,
    ),
    Key(
        "signing.key", "path",
        "The private key of key mode: PEM, PKCS #8, mode 0600. Its password: YOYO_KEY_PASSWORD.",
        absent="none: needed in key mode", low=1, high=4096,
    ),
    Key(
        "signing.token_file", "path",
        "An OIDC identity token for keyless signing, mode 0600.",
        absent="YOYO_IDENTITY_TOKEN, SIGSTORE_ID_TOKEN, else that of the workload", low=1,
        high=4096,
    ),
)  # fmt: skip

NODE_ADAPTER_KEYS: Final = (
    Key(
        "adapters", "choice",
        "`auto`: the node starts with what the registry file has promoted for its moduleId, once "
        "verified; `none`: the base alone.", "auto", choices=("auto", "none"),
    ),
    Key("task", "label", "The task that adapters are selected for.", absent="any"),
)  # fmt: skip
