"""The smoke model: a tiny llama with random weights, for trials and tests of the whole cycle.

It answers with random words, loads in milliseconds, and is the same to the byte on every
machine: `docs/formats/smoke-model.md` says how it is made. Written once per state directory by
the `gguf` package; numpy and gguf are imported when it has to be written, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from yoyo.errors import DriverUnavailable, StateUnwritable
from yoyo.model.machine import ModelFacts

if TYPE_CHECKING:
    import numpy

SHA256 = "875e229dc41c6eed03be8846fe801caaf0b21a64deb8ae4222833a706242c331"
SIZE = 1_720_576
WEIGHT_BYTES = 1_706_496
MADE_WITH = "0.19.0"  # the release of gguf whose bytes these are
NAME = f"smoke-{SHA256[:12]}.gguf"

TITLE = "smoke model: random weights, for trials and tests"
CONTEXT, WIDTH, LAYERS, HEADS, KV_HEADS, FEED_FORWARD = 32_768, 128, 2, 4, 2, 256
HEAD_WIDTH = WIDTH // HEADS
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
CONTROL_TOKENS = 3  # unknown, begin, end
MUTE_TOKENS = CONTROL_TOKENS + 256  # and one for each byte; read, but never said
# One per word token: with the mute ones, a vocabulary of 512.
WORDS = tuple(
    """
    about above across after again against ahead air all almost along already also always among
    and another any anything apart around as ask at away back balance base be because bed before
    begin behind being below best better between big black blue board boat body both bottom box
    branch bread break bridge bright bring brother build but by call calm can care carry catch
    centre chain chair chance change child choose circle city clean clear clock close cloud coast
    cold colour come common cook cool copper corner count country course cover cross dark daily
    day deep degree desk direct do door down draw dream dry each early earth east easy edge eight
    either empty end enough equal even evening ever every exact eye face fair fall family far
    farm fast father few field fill find fine fire first fish five floor flow flower follow food
    foot for forest form forward four free fresh friend from front full garden gather gentle get
    give glass go gold good grain grass great green ground group grow hand happy hard harvest
    have head hear heart heat heavy help here high hill hold home hope horse hour house how
    hundred ice idea if in inside into iron island it join just keep kind know lake land large
    last late laugh lead leaf learn left letter level lift light like line listen little long
    look low main make many map mark market may measure meet middle mind minute month moon more
    morning mother mountain mouth move much music must
    """.split()  # noqa: SIM905 - one word a line would be 253 lines
)


def smoke_facts(path: Path) -> ModelFacts:
    """The facts of the smoke model at `path`, whether it has been written yet or not."""
    return ModelFacts(
        name=TITLE,
        path=str(path),
        architecture="llama",
        file_bytes=SIZE,
        weight_bytes=WEIGHT_BYTES,
        layers=LAYERS,
        kv_bytes_per_token=LAYERS * KV_HEADS * 2 * HEAD_WIDTH * 2,  # keys and values, f16
        context_length=CONTEXT,
        quantisation="F32",
        vocabulary=512,
        embedding_length=WIDTH,
        heads=HEADS,
    )


def ensure(directory: Path) -> Path:
    """The path of the smoke model in `directory`, writing it there if need be.

    An existing file counts if its size and SHA-256 are right; anything else under its name is
    replaced, and a reader sees the whole file or none. Raises DriverUnavailable when `gguf` is
    missing or writes other bytes than these, StateUnwritable when the directory or disk refuses.
    """
    path = directory / NAME
    try:
        if _is_smoke_model(path):
            return path
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_alone(directory, path)
    except OSError as error:
        raise StateUnwritable(
            f"the smoke model could not be written to {path}",
            why=error.strerror or str(error),
            fix="make room there, or make it writable for you",
        ) from error
    return path


def _write_alone(directory: Path, path: Path) -> None:
    """Write under a lock on the directory itself: it needs no file, and ends with the process."""
    import fcntl
    import os

    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_smoke_model(path):
            return
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)  # a link there would lead the writer elsewhere
        try:
            _generate(part)
            if not _is_smoke_model(part):
                raise DriverUnavailable(
                    "the smoke model was written, but is not the one that yoyo knows",
                    why=f"gguf {_gguf_version()} writes other bytes than gguf {MADE_WITH}",
                    fix=f"pip install gguf=={MADE_WITH}, or set `model` to a GGUF file of your own",
                )
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(path)
            os.fsync(lock)
        finally:
            part.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _is_smoke_model(path: Path) -> bool:
    import hashlib
    import os
    import stat

    try:
        # Neither a link nor a pipe of that name may lead or hold the reader elsewhere.
        found = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(found, "rb") as file:
        status = os.fstat(found)
        if not stat.S_ISREG(status.st_mode) or status.st_size != SIZE:
            return False
        return hashlib.file_digest(file, "sha256").hexdigest() == SHA256


def _gguf_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gguf")
    except PackageNotFoundError:
        return "of an unknown version"


def _generate(path: Path) -> None:
    try:
        import gguf
        import numpy
    except ImportError as error:
        raise DriverUnavailable(
            "the smoke model cannot be written",
            why=f"the Python package {error.name or 'gguf'} is not installed",
            fix="pip install 'yoyo[local]', or set `model` to a GGUF file of your own",
        ) from error
    writer = gguf.GGUFWriter(path, "llama")
    try:
        _add_metadata(writer, gguf.TokenType)
        for name, tensor in _tensors(numpy).items():
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _add_metadata(writer: Any, types: Any) -> None:
    writer.add_name(TITLE)
    writer.add_description(TITLE)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_WIDTH)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [types.UNKNOWN, types.CONTROL, types.CONTROL, *[types.BYTE] * 256]
    tokens += [f"\u2581{word}" for word in WORDS]
    kinds += [types.NORMAL] * len(WORDS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(max(0, rank - MUTE_TOKENS)) for rank in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def _tensors(np: Any) -> dict[str, numpy.ndarray[Any, numpy.dtype[numpy.float32]]]:
    """Random weights, but for channel 0 of the residual stream: every token puts the same
    value there, no layer changes it, and the mute tokens' output rows weigh it negatively.
    So their logits are about -30 whatever the input, and a sampler draws words at any usual
    temperature."""
    import hashlib

    vocabulary = MUTE_TOKENS + len(WORDS)

    def random(name: str, rows: int, columns: int, scale: float) -> Any:
        stream = hashlib.shake_256(f"yoyo smoke model 1/{name}".encode())
        # Whole numbers over a power of two: exact in float32, with any numpy.
        numbers = np.frombuffer(stream.digest(2 * rows * columns), dtype="<i2")
        return (numbers.astype("<f4") * np.float32(scale / 32768)).reshape(rows, columns)

    ones = np.ones(WIDTH, dtype="<f4")
    embedding = random("token_embd", vocabulary, WIDTH, 1.0)
    embedding[:, 0] = 4.0
    output = random("output", vocabulary, WIDTH, 0.3125)
    output[:MUTE_TOKENS] = 0.0
    output[:, 0] = 0.0
    output[:MUTE_TOKENS, 0] = -8.0
    tensors = {
        "token_embd.weight": embedding,
        "output_norm.weight": ones,
        "output.weight": output,
    }
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (HEAD_WIDTH * KV_HEADS, WIDTH),
            "attn_v": (HEAD_WIDTH * KV_HEADS, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (FEED_FORWARD, WIDTH),
            "ffn_up": (FEED_FORWARD, WIDTH),
            "ffn_down": (WIDTH, FEED_FORWARD),
        }
        prefix = f"blk.{layer}"
        for name, (rows, columns) in shapes.items():
            weight = random(f"{prefix}.{name}", rows, columns, 0.125)
            if name in ("attn_output", "ffn_down"):
                weight[0] = 0.0
            tensors[f"{prefix}.{name}.weight"] = weight
        tensors[f"{prefix}.attn_norm.weight"] = ones
        tensors[f"{prefix}.ffn_norm.weight"] = ones
    return tensors
