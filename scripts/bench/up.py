"""`yoyo up` to ready, against starting the same engine on the same model by hand.

By hand means: one Python process that gives the same parameters to the same engine, and a
loop that asks /health every 5 ms. Two models are measured, since yoyo's own work is a fixed
cost: the smoke model, which the engine loads in no time at all, and one of MODEL_GB (random
weights, written for the occasion): 4 GB is what a 7B model takes at 4 bits.

Prints one JSON object and writes it to docs/benchmarks/up.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
YOYO = str(Path(sys.executable).parent / "yoyo")
RUNS = int(os.environ.get("BENCH_RUNS", "5"))
MODEL_GB = float(os.environ.get("MODEL_GB", "4"))
BAR = 1.25
CTX, PARALLEL = 4096, 2

BY_HAND = f"""
import sys, signal, xllamacpp
p = xllamacpp.CommonParams()
p.model.path = sys.argv[1]
p.n_ctx, p.n_parallel = {CTX}, {PARALLEL}
p.hostnames, p.port = ["127.0.0.1"], int(sys.argv[2])
p.api_keys = ["by-hand-by-hand-by-hand"]
p.endpoint_metrics = p.endpoint_slots = True
server = xllamacpp.Server(p)
signal.pause()
"""


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def by_hand(model: Path, port: int) -> float:
    begun = time.perf_counter()
    engine = subprocess.Popen(
        [sys.executable, "-c", BY_HAND, str(model), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not healthy(f"http://127.0.0.1:{port}"):
            time.sleep(0.005)
        return time.perf_counter() - begun
    finally:
        engine.kill()
        engine.wait()


def with_yoyo(cwd: Path) -> float:
    begun = time.perf_counter()
    subprocess.run([YOYO, "up"], cwd=cwd, check=True, capture_output=True)
    taken = time.perf_counter() - begun
    subprocess.run([YOYO, "down", "--now"], cwd=cwd, check=True, capture_output=True)
    return taken


def large_model(path: Path, gigabytes: float) -> None:
    """A llama of about that many bytes, F16, with the smoke model's tokenizer."""
    import gguf
    import numpy as np

    width, hidden, heads = 2048, 8192, 16
    per_layer = 2 * (4 * width * width + 3 * width * hidden)
    layers = max(1, round(gigabytes * 1e9 / per_layer))
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{i:02X}>".encode() for i in range(256)]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(32768)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([2, 3, 3] + [6] * 256)
    chance = np.random.default_rng(1)

    def matrix(name: str, rows: int, columns: int) -> None:
        weights = chance.integers(-1000, 1000, (rows, columns), dtype=np.int16)
        writer.add_tensor(name, (weights / 50000).astype(np.float16))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(width, np.float32))

    matrix("token_embd.weight", len(tokens), width)
    matrix("output.weight", len(tokens), width)
    ones("output_norm.weight")
    for layer in range(layers):
        at = f"blk.{layer}."
        ones(at + "attn_norm.weight")
        ones(at + "ffn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{at}{name}.weight", width, width)
        matrix(at + "ffn_gate.weight", hidden, width)
        matrix(at + "ffn_up.weight", hidden, width)
        matrix(at + "ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measure(name: str, model: str, cwd: Path) -> dict[str, object]:
    (cwd / "yoyo.yaml").write_text(
        "version: 1\nnodes:\n  local:\n    moduleId: bench\n    driver: local\n"
        f"    engine: {{model: {model}, ctx: {CTX}, parallel: {PARALLEL}}}\n"
    )
    with_yoyo(cwd)
    file = cwd / model if model != "smoke" else next((cwd / ".yoyo" / "models").glob("*.gguf"))
    by_hand(file, 18900)
    pairs = [(with_yoyo(cwd), by_hand(file, 18901 + run)) for run in range(RUNS)]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours = statistics.median(p[0] for p in pairs)
    theirs = statistics.median(p[1] for p in pairs)
    return {
        "model": name,
        "model_bytes": file.stat().st_size,
        "figure_s": round(ours, 3),
        "reference_s": round(theirs, 3),
        "added_s": round(ours - theirs, 3),
        "ratio": round(ratio, 2),
        "bar": BAR,
        "met": ratio <= BAR,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        cwd = Path(directory)
        results = [measure("smoke model", "smoke", cwd)]
        large_model(cwd / "large.gguf", MODEL_GB)
        results.append(measure(f"random weights, {MODEL_GB:g} GB", "large.gguf", cwd))
    report = {
        "benchmark": "up",
        "reference": "the same engine and model started by hand, /health asked every 5 ms",
        "runs": RUNS,
        "results": results,
    }
    text = json.dumps(report, indent=2)
    (ROOT / "docs" / "benchmarks" / "up.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
