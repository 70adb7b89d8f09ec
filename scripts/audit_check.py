"""A second verifier for whoever does not want to believe the first: Python 3 alone, no yoyo.
`ledger CSV... [--note FILE --vkey TEXT]`, all rows from 1 on; `extract FILE --vkey TEXT`.
Exit 0, 1 (not so) or 2 (not tried). Ed25519: RFC 8032, section 5.1; tree: RFC 9162, section 2.1."""

# fmt: off
import argparse
import base64
import json
import sys
from hashlib import sha256, sha512
from pathlib import Path

P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT_M1 = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
Point = tuple[int, int]  # affine
def need(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"NOT OK: {what!a}")
def add(p: Point, q: Point) -> Point:
    x, y, z = p[0] * q[1] + q[0] * p[1], p[1] * q[1] + p[0] * q[0], D * p[0] * q[0] * p[1] * q[1]
    return x * pow(1 + z, -1, P) % P, y * pow(1 - z, -1, P) % P
def times(n: int, p: Point) -> Point:
    return add(times(n // 2, add(p, p)), p if n % 2 else (0, 1)) if n else (0, 1)
def point(data: bytes) -> Point:
    sign, y = divmod(int.from_bytes(data, "little"), 2**255)
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * ROOT_M1 % P
    need(len(data) == 32 and y < P and x * x % P == square and x >= sign, "not on the curve")
    return (x if x % 2 == sign else P - x), y
def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    a, r, s = point(public), point(signature[:32]), int.from_bytes(signature[32:], "little")
    h = int.from_bytes(sha512(signature[:32] + public + message).digest(), "little") % L
    base = point(b"\x58" + b"\x66" * 31)  # y = 4/5; s + L would be a second spelling of s
    return len(signature) == 64 and s < L and times(s, base) == add(r, times(h, a))
def signed_head(note: bytes, vkey: str) -> tuple[int, bytes]:
    name, identity, key = vkey.strip().split("+", 2)
    public = base64.b64decode(key, validate=True)
    known = sha256(name.encode() + b"\n" + public).digest()[:4]
    need(public[0] == 1 and known.hex() == identity, "the key is malformed, or not of Ed25519")
    body, _, lines = note.decode().rpartition("\n\n")
    for dash, signer, blob in map(str.split, lines.split("\n")[:-1]):
        found = base64.b64decode(blob, validate=True)
        if dash == "\u2014" and signer == name and found[:4] == known:
            need(ed25519(public[1:], (body + "\n").encode(), found[4:]), "the signature is false")
            return int(body.split("\n")[1]), base64.b64decode(body.split("\n")[2], validate=True)
    sys.exit("NOT OK: the key did not sign the note")
def check_ledger(given: argparse.Namespace) -> str:
    head = given.note and signed_head(Path(given.note).read_bytes(), given.vkey)
    size, root = head or (0, sha256().digest())  # without a note nobody vouches for a row
    prev, seq, tree = b"0" * 64, 0, list[bytes]()
    for file in given.files:
        with Path(file).open("rb") as rows:
            need(rows.readline().endswith(b",operator_id,seq,row_hash\n"), f"{file}: its header")
            for line in (each for each in rows if each.endswith(b"\n") or file != given.files[-1]):
                (prefix, _, stored), seq = line[:-1].rpartition(b","), seq + 1
                need(seq > 1 or prefix.endswith(b",1"), f"{file}: needed are all rows from 1 on")
                prev = sha256(prev + prefix).hexdigest().encode()
                need(prev == stored and prefix.endswith(b",%d" % seq), f"row {seq}: chain or seq")
                node, count = sha256(b"\0" + line[:-1]).digest(), seq
                while seq <= size and count % 2 == 0:
                    node, count = sha256(b"\1" + tree.pop() + node).digest(), count // 2
                tree += [node] * (seq <= size)
    while len(tree) > 1:
        tree[-2:] = [sha256(b"\1" + tree[-2] + tree[-1]).digest()]
    need(seq >= size and [*tree, sha256().digest()][0] == root, f"not the {size} signed rows")
    alone = "the chain holds; nothing says that it is the signed one"
    return f"OK: {seq} rows, " + (f"of which the first {size} are signed" if given.note else alone)
def check_extract(given: argparse.Namespace) -> str:
    with Path(given.files[0]).open("rb") as lines:
        header, seq, count = json.loads(lines.readline()), 0, 0
        size, root = signed_head(header["checkpoint"].encode(), given.vkey)
        for row in map(json.loads, lines):  # no field before moduleId or after seq is ever quoted
            fields, above, seq, count = row["line"].split(","), seq, row["seq"], count + 1
            good = fields[3] == header["module"] and above < seq <= size
            need(good and fields[-2] == str(seq), f"row {seq}: its module, order or number")
            at, last, node = seq - 1, size - 1, sha256(b"\0" + row["line"].encode()).digest()
            for beside in map(base64.b64decode, row["path"]):
                while at == last and at % 2 == 0 and last:
                    at, last = at // 2, last // 2
                node = sha256(b"\1" + (beside + node if at % 2 else node + beside)).digest()
                at, last = at // 2, last // 2
            need(last == 0 and node == root, f"row {seq} is not in the signed tree")
    need(count == header["rows"], f"{count} rows are there, and not {header['rows']}")
    return f"OK: {count} rows of {header['module']!a}, all among the first {size} that were signed"
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("what", "files", "--note", "--vkey"):
        parser.add_argument(name, nargs="+" if name == "files" else None)
    given = parser.parse_args()
    keyed = {"ledger": given.note is not None, "extract": True}.get(given.what)
    if keyed != (given.vkey is not None) or (keyed and given.vkey.count("+") < 2):
        parser.error("ledger CSV... [--note FILE --vkey NAME+HEX+BASE64] | extract FILE --vkey KEY")
    try:
        print((check_ledger if given.what == "ledger" else check_extract)(given))
    except OSError as error:
        parser.exit(2, f"cannot be read: {error.filename!a}: {error.strerror}\n")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        sys.exit(f"NOT OK: {type(error).__name__} {str(error)!a}")
