"""Corpora with nasty rows as Python's csv and json modules write and read them, for
tests/test_corpus_golden.c. Needs Python alone:

    python3 tests/golden/make_corpora.py

NAME.csv, .tsv and .jsonl lie beside NAME.rows, what Python reads from them: for each row the label
and the text, each as four bytes of length (little-endian) and UTF-8. The length 0xFFFFFFFF stands
for a row that Python refuses.
"""

import csv
import io
import json
import pathlib
import random
import struct

folder = pathlib.Path(__file__).parent / "corpora"
REFUSED = struct.pack("<I", 0xFFFFFFFF)


def field(text):
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def write(name, ending, data, rows):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.{ending}").write_bytes(data)
    (folder / f"{name}.rows").write_bytes(b"".join(
        REFUSED if row is None else field(row[0]) + field(row[1]) for row in rows))


PIECES = ['"', '""', '"""', ",", ",,", "\n", "\r\n", "\r", "\n\n", "\t", " ", "  ", "a", "bc", "'",
          "\\", '\\"', "é", "見出し", "😀", "\ufeff", "\u2028", "\u0085", "\x01", "\x1a", "=1+1", "text", "label",
          ";", "#", "{", "}", "null", "0", "-1e5"]


def nasty(random, pieces=PIECES):
    return "".join(random.choice(pieces) for _ in range(random.choice([0, 1, 1, 2, 3, 5, 8, 20])))


def written(seed, **options):
    """Rows that csv.writer quotes where it must."""
    r = random.Random(seed)
    rows = [[nasty(r), nasty(r), nasty(r)] for _ in range(150)]
    out = io.StringIO(newline="")
    csv.writer(out, **options).writerows([["other", "text", "label"]] + rows)
    read = list(csv.reader(io.StringIO(out.getvalue(), newline=""), strict=True))[1:]
    assert read == rows
    return out.getvalue().encode(), [(row[2], row[1]) for row in rows]


write("minimal", "csv", *written(1))
data, rows = written(2, quoting=csv.QUOTE_ALL, lineterminator="\n")
write("quoted", "csv", b"\xef\xbb\xbf" + data[:-1], rows)  # a mark before, no line end behind


def assembled(seed):
    """Lines that no writer would make: quotes where none are needed, both line ends in one file."""
    r = random.Random(seed)
    plain = [p for p in PIECES if not set(p) & set('",\r\n')]
    out = "label,text" + r.choice(["\n", "\r\n"])
    for _ in range(150):
        fields = []
        for _ in range(2):
            if r.random() < 0.5:
                fields.append('"' + nasty(r).replace('"', '""') + '"')
            else:
                fields.append(nasty(r, plain))
        out += ",".join(fields) + r.choice(["\n", "\r\n"])
    rows = list(csv.reader(io.StringIO(out, newline=""), strict=True))[1:]
    assert len(rows) == 150 and all(len(row) == 2 for row in rows)
    return out.encode(), [tuple(row) for row in rows]


write("assembled", "csv", *assembled(3))


def tabs(seed):
    r = random.Random(seed)
    plain = [p for p in PIECES if not set(p) & set("\t\r\n")]
    out = "label\ttext\n" + "".join(f"{nasty(r, plain)}\t{nasty(r, plain)}\n" for _ in range(150))
    rows = list(csv.reader(io.StringIO(out, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))
    return out.encode(), [tuple(row) for row in rows[1:]]


write("tabs", "tsv", *tabs(4))


def lines(seed, ensure_ascii):
    r = random.Random(seed)
    out, rows = "", []
    for _ in range(150):
        text = nasty(r)
        label = r.choice([nasty(r), None, True, False, 7, -0.5, 10**30, 1e300])
        members = [("text", text), ("label", label), (nasty(r) + "!", [nasty(r), {"text": "no"}]),
                   ("nested", {"text": "no", "deeper": [[], {}, "]", '"}']})]
        r.shuffle(members)
        out += json.dumps(dict(members), ensure_ascii=ensure_ascii) + r.choice(["\n", "\r\n", " \n\n"])
        if not isinstance(label, str):
            label = "" if label is None else json.dumps(label)
        rows.append((label, text))
    return out.encode(), rows


write("escaped", "jsonl", *lines(5, True))
write("raw", "jsonl", *lines(6, False))


def refuse(constant):  # NaN and Infinity, which Python reads and JSON does not have
    raise ValueError(constant)


def verdict(line):
    try:
        value = json.loads(line, parse_constant=refuse)
    except ValueError:
        return None
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict) or "text" not in value:
        return None
    text = "" if value["text"] is None else value["text"]
    if not isinstance(text, str) or "\0" in text or any(0xD800 <= ord(c) < 0xE000 for c in text):
        return None
    return ("", text)


def mutated(seed):
    """Lines with a character or two removed, doubled, replaced: JSON or no JSON, as it comes."""
    r = random.Random(seed)
    good = ['{"text":"a\\u00e9\\ud83d\\ude00\\n","n":-1.5e+3}', '{"a":[1,0.5,{"b":[]}],"text":"x\\"y"}',
            '{"text":null,"t":true,"f":false}', '"bare \\u3042 \\/ string"', '{"text":"","z":0}',
            ' { "k" : [ ] , "text" : "t" } ', '{"text":"1","text":"2\\\\"}', '{"o":{"text":"in"},"text":"out"}']
    alphabet = '{}[]",:\\u0d8e1.-+tfn x/'
    lines = list(good)
    while len(lines) < 600:
        line = list(r.choice(good))
        for _ in range(r.choice([1, 1, 2])):
            at = r.randrange(len(line))
            what = r.randrange(4)
            if what == 0:
                del line[at]
            elif what == 1:
                line.insert(at, r.choice(alphabet))
            elif what == 2:
                line[at] = r.choice(alphabet)
            else:
                line = line[:at] or ["{"]
        if "".join(line).strip():
            lines.append("".join(line))
    return "".join(f"{line}\n" for line in lines).encode(), [verdict(line) for line in lines]


data, rows = mutated(7)
write("mutated", "jsonl", data, rows)
print(sum(row is None for row in rows), "of", len(rows), "mutated lines are refused")
