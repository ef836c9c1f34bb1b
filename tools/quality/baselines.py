"""TF-IDF + k-means and LDA on a labelled corpus: what docs/quality.md holds midashi against.

    python tools/quality/baselines.py CORPUS.tsv [ja]

Prints NMI (arithmetic) and purity against the labels, the mean over three seeds, with as many topics as there are
labels. With `ja` the words are MeCab's nouns and verbs (the `mecab` program with ipadic-utf8),
else scikit-learn's default tokens in lower case without its English stop words. scikit-learn 1.9.1.
"""
import subprocess
import sys
from collections import Counter

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import LatentDirichletAllocation, TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.metrics import normalized_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer


def read(path):
    lines = open(path, encoding="utf-8").read().split("\n")[1:]
    rows = [line.split("\t", 1) for line in lines if line]
    return [r[0] for r in rows], [r[1] for r in rows]


def japanese(texts):
    out = subprocess.run(["mecab", "-d", "/var/lib/mecab/dic/ipadic-utf8"], input="\n".join(texts),
                         capture_output=True, text=True, check=True).stdout
    documents, words = [], []
    for line in out.split("\n"):
        if line == "EOS":
            documents.append(" ".join(words))
            words = []
        elif "\t" in line:
            surface, features = line.split("\t", 1)
            f = features.split(",")
            if f[0] in ("名詞", "動詞") and f[1] not in ("数", "非自立", "接尾", "代名詞"):
                words.append(f[6] if len(f) > 6 and f[6] != "*" else surface)
    return documents


def purity(topics, labels):
    best = sum(max(Counter(l for l, u in zip(labels, topics) if u == t).values())
               for t in set(topics))
    return best / len(labels)


def report(name, labels, assign):
    scores = []
    for seed in range(3):
        topics = assign(seed)
        scores.append((normalized_mutual_info_score(labels, topics), purity(topics, labels)))
    nmi, p = np.mean(scores, 0)
    print(f"{name}\tNMI {nmi:.3f}\tpurity {p:.3f}", flush=True)


def main(path, language=None):
    labels, texts = read(path)
    k = len(set(labels))
    if language == "ja":
        texts = japanese(texts)
        options = dict(lowercase=False, min_df=2)
    else:
        options = dict(stop_words="english", min_df=2)
    x = TfidfVectorizer(**options).fit_transform(texts)
    print(f"{path}: {len(texts)} texts, {k} labels, {x.shape[1]} words")
    report("TF-IDF + k-means", labels,
           lambda seed: KMeans(k, n_init=1, random_state=seed).fit_predict(x))
    lsa = make_pipeline(TruncatedSVD(min(100, x.shape[1] - 1), random_state=0), Normalizer())
    z = lsa.fit_transform(x)
    report("TF-IDF + LSA + k-means", labels,
           lambda seed: KMeans(k, n_init=1, random_state=seed).fit_predict(z))
    counts = CountVectorizer(**options).fit_transform(texts)
    report("LDA", labels, lambda seed: LatentDirichletAllocation(
        k, max_iter=50, random_state=seed).fit_transform(counts).argmax(1))


if __name__ == "__main__":
    main(*sys.argv[1:])
