"""A model hub on loopback, for tests/cli/test_fetch_model.sh:   python3 model_hub.py FOLDER

Writes its address to FOLDER/address once it listens, and a line for each request to FOLDER/requests:
method, host, path, Range and the token, or '-'. It answers as the real hub does: a large file is a
redirection to another host (localhost for 127.0.0.1) with its size and SHA-256 in X-Linked headers,
a small one a redirection within the hub, and refusals name their reason in X-Error-Code. Models
differ in how they misbehave. It ends by itself after five minutes.
"""

import hashlib
import http.server
import json
import sys
import threading
import urllib.parse

COMMITS = {"main": "a" * 40, "refs/pr/1": "b" * 40}
COMMITS.update({commit: commit for commit in list(COMMITS.values())})
WEIGHTS = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(4096))  # 128 KiB


def index(*shards):
    return json.dumps({"metadata": {}, "weight_map": {f"t{i}": s for i, s in enumerate(shards)}})


SMALL = {
    "config.json": b'{"architectures": ["LlamaForCausalLM"]}\n',
    "tokenizer.json": b'{"model": {}}\n',
    "tokenizer_config.json": b"{}\n",
    "model.safetensors": WEIGHTS,
}
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
MODELS = {
    "acme/small": SMALL,
    "acme/breaking": SMALL,  # each transfer of weights ends after 50,000 bytes
    "acme/stuck": SMALL,  # ... after 1,000 bytes, and those that go on bring nothing
    "acme/rangeless": SMALL,  # the first transfer breaks; Range is ignored
    "acme/damaged": SMALL,  # other bytes than the checksum tells
    "acme/busy": SMALL,  # 503 to the first two questions
    "acme/gated": SMALL,  # wants the token hf_right
    "acme/bare": {"config.json": b"{}", "tokenizer.json": b"{}"},
    "acme/wordless": {"config.json": b"{}", "model.safetensors": WEIGHTS},
    "acme/sharded": {
        "config.json": b"{}",
        "tokenizer.model": b"sentencepiece",
        "model.safetensors.index.json": index(*SHARDS, SHARDS[0]).encode(),
        SHARDS[0]: WEIGHTS,
        SHARDS[1]: WEIGHTS[::-1],
    },
    "acme/sentences": dict(
        SMALL,
        **{"modules.json": b"[]\n", "1_Pooling/config.json": b'{"pooling_mode": "lasttoken"}\n'},
    ),
    "acme/climbing": {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors.index.json": index("../../climbed.safetensors").encode(),
    },
}


class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = None
    lock = threading.Lock()
    asked = {}  # how often, by model and method

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def log_message(self, *_):
        pass

    def answer(self):
        token = self.headers.get("Authorization", "-").removeprefix("Bearer ")
        words = (self.command, self.headers["Host"], self.path, self.headers.get("Range", "-"), token)
        with self.lock:
            with open(f"{self.folder}/requests", "a") as log:
                print(*words, file=log)
        kind, *parts = [urllib.parse.unquote(p) for p in self.path.lstrip("/").split("/")]
        if kind in ("elsewhere", "cache"):
            self.send_file("/".join(parts[:2]), "/".join(parts[2:]))
        else:
            self.resolve(f"{kind}/{parts[0]}", parts[2], "/".join(parts[3:]), token)

    def resolve(self, model, revision, name, token):
        files = MODELS.get(model)
        if files is None:
            return self.refuse(401, "RepoNotFound")
        if model == "acme/gated" and token != "hf_right":
            return self.refuse(401 if token == "-" else 403, "GatedRepo")
        if revision not in COMMITS:
            return self.refuse(404, "RevisionNotFound")
        if name not in files:
            return self.refuse(404, "EntryNotFound")
        if model == "acme/busy" and self.count(model) < 2:
            return self.refuse(503, None)
        headers = {"X-Repo-Commit": COMMITS[revision]}
        if name.endswith(".safetensors"):
            host = f"http://localhost:{self.server.server_port}"
            headers["X-Linked-Size"] = str(len(files[name]))
            headers["X-Linked-ETag"] = f'"{hashlib.sha256(files[name]).hexdigest()}"'
            self.start(302, dict(headers, Location=f"{host}/elsewhere/{model}/{name}"))
        else:
            self.start(307, dict(headers, Location=f"/cache/{model}/{name}"))

    def send_file(self, model, name):
        content = MODELS[model][name]
        etag = hashlib.sha1(content).hexdigest()
        large = name.endswith(".safetensors")
        if model == "acme/damaged" and large:
            content = b"?" + content[1:]
        wanted = self.headers.get("Range")
        if model == "acme/rangeless":
            wanted = None
        begin = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        end = len(content)
        headers = {"ETag": f'"{etag}"', "Content-Length": str(end - begin)}
        if wanted:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{end}"
        if large and self.command == "GET":
            times = self.count(model)
            if model == "acme/breaking":
                end = min(end, begin + 50000)
            elif model == "acme/stuck":
                end = min(end, 1000)
            elif model == "acme/rangeless" and times == 0:
                end = 1000
        self.start(206 if wanted else 200, headers)
        if self.command == "GET":
            self.wfile.write(content[begin:end])
            self.close_connection = end < len(content) or self.close_connection

    def count(self, model):
        with self.lock:
            times = self.asked.get(model, 0)
            self.asked[model] = times + 1
        return times

    def refuse(self, status, reason):
        headers = {"Content-Length": "0"}
        self.start(status, dict(headers, **{"X-Error-Code": reason}) if reason else headers)

    def start(self, status, headers):
        self.send_response(status)
        for name, value in dict({"Content-Length": "0"}, **headers).items():
            self.send_header(name, value)
        self.end_headers()


def main():
    Hub.folder = sys.argv[1]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Timer(300, server.shutdown).start()
    with open(f"{Hub.folder}/address", "w") as file:
        file.write(f"http://127.0.0.1:{server.server_port}\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
