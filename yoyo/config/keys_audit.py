"""The keys about proving the ledger: checkpoints, sealing, retention, prices."""

from __future__ import annotations

from typing import Final

from yoyo.config.key import STORE_PATTERN, URL_PATTERN, YEAR_S, Key

# A name as C2SP signed-note has it: no spaces, no plus; a schema-less URL is recommended.
ORIGIN_PATTERN: Final = "^[A-Za-z0-9]([A-Za-z0-9./_-]{0,126}[A-Za-z0-9])?$"

AUDIT_KEYS: Final = (
    Key(
        "price_table", "path", "A price table of your own, in the form of docs/formats/prices.md.",
        absent="the one that comes with yoyo", low=1, high=4096,
    ),
    Key(
        "checkpoints.origin", "match",
        "The ledger's name in every checkpoint: unique in the world and never changed.",
        absent="none: no checkpoint is signed", pattern=ORIGIN_PATTERN,
        expected="a name as HOST/PATH, without a scheme",
    ),
    Key(
        "checkpoints.key", "path",
        "The private key that signs checkpoints: Ed25519, PKCS #8 PEM, mode 0600; `yoyo ledger "
        "keygen` makes it.", absent="none", low=1, high=4096,
    ),
    Key(
        "checkpoints.signer_command", "flags",
        "Instead of a key: a command, one word each, that reads a checkpoint's body and prints "
        "the Ed25519 signature in base64. Needs `checkpoints.public_key`.", "[]", high=64,
    ),
    Key(
        "checkpoints.public_key", "path", "The verifier key of `checkpoints.signer_command`.",
        absent="none", low=1, high=4096,
    ),
    Key(
        "checkpoints.every", "duration",
        "The monitor signs a checkpoint when the newest one is older; a teardown always does.",
        "1h", low=60, high=YEAR_S,
    ),
    Key(
        "checkpoints.copy_to", "match",
        "A second store that every checkpoint is copied to, where whoever writes the ledger cannot "
        "delete: gs://BUCKET[/PREFIX] with a retention policy, or file:///DIRECTORY.",
        absent="none", pattern=STORE_PATTERN, expected="gs://BUCKET[/PREFIX] or file:///DIRECTORY",
    ),
    Key(
        "checkpoints.copy_endpoint", "match", "Another address of Cloud Storage, for trials.",
        absent="Google's own", pattern=URL_PATTERN, expected="an http(s) address",
    ),
    Key(
        "checkpoints.copy_credentials", "path", "A credentials file for that store.",
        absent="Application Default Credentials", low=1, high=4096,
    ),
    Key(
        "sealing.mode", "choice",
        "`monthly`: a month that is over is sealed before the next row; `manual`: by `yoyo ledger "
        "seal` alone.", "manual", choices=("manual", "monthly"),
    ),
    Key(
        "sealing.retention_months", "integer",
        "How long sealed months are kept before `yoyo ledger prune` may delete them.",
        absent="for ever", unit="months", low=1, high=1200,
    ),
    Key(
        "sealing.legal_hold", "choice", "`on`: nothing is deleted, whatever the retention.",
        "off", choices=("off", "on"),
    ),
)  # fmt: skip
