"""Golden numbers of clustering, made by scikit-learn 1.9.1, numpy 2.4.6 and Python 3.11.

    python tests/golden/make_cluster.py

writes in cluster/ beside this file:

kmeans.txt         KMeans(init=array, n_init=1, algorithm="lloyd") on made-up inputs, in float64. A
                   case is a line `name shape n d k seed spread max_iter n_iter inertia`, then a line
                   of n labels.
kmeans_seeds.txt   The mean inertia of KMeans(n_init=1) over 200 seeds: `shape n d k seed spread mean`.
kmeans_cosine.txt  Spherical k-means, by the few lines of numpy below: as kmeans.txt.
tfidf.txt          TfidfVectorizer(lowercase=False) on the texts of tfidf_texts.txt, a line a text,
                   for several min_df: `min_df n_rows n_words`, then `word df` for each word, then a
                   line `n word value word value ...` for each row.
word_characters.txt  The ranges `first last` of code points that Python's re takes for \\w.
scores.txt         `nmi purity adjusted_rand n`, then a line of topics and a line of labels.
transform.txt      Mean and principal components (PCA, float64) of a made-up matrix.
word_vectors.txt   V = (X / column sums)^T E for the second matrix of tfidf.txt, and nearest words.

The inputs come from a 64-bit mix of (seed, index), which tests/cluster_inputs.h makes again bit by
bit, so they are not stored.
"""

import math
import os
import re
import sys

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cluster")
MASK = (1 << 64) - 1


def open_golden(name):
    return open(os.path.join(FOLDER, name), "w", encoding="utf-8", newline="\n")


# ---- inputs ---------------------------------------------------------------------------------


def mix64(seed, index):
    """splitmix64's finaliser, over an array of indices."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed * 0x9E3779B97F4A7C15 + 1 & MASK) + index.astype(np.uint64)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def uniform(seed, index):
    return (mix64(seed, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bell(seed, index):
    """The sum of four uniform numbers, less 2: exact additions, so the same bits everywhere."""
    u = [uniform(seed, 4 * index + i) for i in range(4)]
    return u[0] + u[1] + u[2] + u[3] - 2


def make_rows(shape, n, d, k, seed, spread):
    row = np.arange(n)[:, None]
    column = np.arange(d)[None, :]
    if shape == "duplicates":
        row = row % 10
    place = row * d + column
    if shape == "uniform":
        x = uniform(seed, place)
    elif shape == "line":
        x = bell(seed, row) * (column + 1) + column
    else:
        x = 10 * uniform(seed + 1, row % k * d + column) + spread * bell(seed, place)
    if shape == "stretched":
        x = x * 4.0 ** (column % 4)
    if shape == "far":
        x = x + 1000
    return x.astype(np.float32)


def initial_centres(x, k, lost):
    """Rows at even steps; where lost, the last centre lies far from all rows."""
    init = x[np.arange(k) * (len(x) // k)].copy()
    if lost:
        init[-1] = 1e6
    return init


# ---- k-means --------------------------------------------------------------------------------

# name, shape, n, d, k, seed, spread, max_iter
KMEANS = [
    ("blobs", "blobs", 600, 8, 5, 1, 1.0, 300),
    ("overlapping", "blobs", 800, 3, 12, 2, 4.0, 300),
    ("duplicates", "duplicates", 200, 4, 4, 3, 1.0, 300),
    ("line", "line", 300, 3, 6, 4, 1.0, 300),
    ("every-row", "blobs", 12, 5, 12, 5, 1.0, 300),
    ("one-cluster", "blobs", 100, 7, 1, 6, 1.0, 300),
    ("high", "blobs", 60, 512, 7, 7, 3.0, 300),
    ("stretched", "stretched", 500, 9, 6, 8, 2.0, 300),
    ("uniform", "uniform", 1500, 10, 8, 9, 1.0, 300),
    ("far", "far", 400, 6, 4, 10, 1.0, 300),
    ("stopped", "uniform", 700, 6, 9, 11, 1.0, 3),
    ("stopped-at-once", "uniform", 300, 6, 9, 12, 1.0, 1),
    ("lost", "blobs", 400, 5, 6, 13, 2.0, 300),
    ("many", "blobs", 1200, 6, 150, 14, 1.5, 300),
]


def write_kmeans():
    with open_golden("kmeans.txt") as out:
        for name, shape, n, d, k, seed, spread, max_iter in KMEANS:
            x = make_rows(shape, n, d, k, seed, spread).astype(np.float64)
            init = initial_centres(x, k, name == "lost")
            km = KMeans(k, init=init, n_init=1, algorithm="lloyd", max_iter=max_iter).fit(x)
            print(name, shape, n, d, k, seed, spread, max_iter, km.n_iter_,
                  repr(float(km.inertia_)), file=out)
            print(*km.labels_, file=out)


def write_kmeans_seeds():
    with open_golden("kmeans_seeds.txt") as out:
        for shape, n, d, k, seed, spread in [("uniform", 1000, 8, 10, 21, 1.0),
                                             ("blobs", 1000, 6, 15, 22, 3.0)]:
            x = make_rows(shape, n, d, k, seed, spread).astype(np.float64)
            inertia = [KMeans(k, n_init=1, random_state=s).fit(x).inertia_ for s in range(200)]
            print(shape, n, d, k, seed, spread, repr(float(np.mean(inertia))), file=out)


def spherical(x, centres):
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    labels = None
    for iteration in range(1, 301):
        before = labels
        distance = ((x[:, None, :] - centres[None]) ** 2).sum(2)
        labels = distance.argmin(1)
        if before is not None and (labels == before).all():
            break
        for c in range(len(centres)):
            total = x[labels == c].sum(0)
            centres[c] = total / np.linalg.norm(total)
    return labels, distance.min(1).sum(), iteration


def write_kmeans_cosine():
    with open_golden("kmeans_cosine.txt") as out:
        for name, shape, n, d, k, seed, spread in [("blobs", "blobs", 400, 6, 5, 31, 2.0),
                                                   ("uniform", "uniform", 500, 12, 4, 32, 1.0)]:
            x = make_rows(shape, n, d, k, seed, spread).astype(np.float64)
            labels, inertia, n_iter = spherical(x, initial_centres(x, k, False))
            print(name, shape, n, d, k, seed, spread, 300, n_iter, repr(float(inertia)), file=out)
            print(*labels, file=out)


# ---- words ----------------------------------------------------------------------------------


def write_tfidf():
    with open(os.path.join(FOLDER, "tfidf_texts.txt"), encoding="utf-8") as file:
        texts = file.read().split("\n")[:-1]
    with open_golden("tfidf.txt") as out:
        for min_df in (1, 2, 5):
            vectorizer = TfidfVectorizer(lowercase=False, min_df=min_df)
            x = vectorizer.fit_transform(texts).tocsr()
            x.sort_indices()
            df = np.bincount(x.indices, minlength=x.shape[1])
            print(min_df, *x.shape, file=out)
            for word, count in zip(vectorizer.get_feature_names_out(), df):
                print(word, count, file=out)
            for i in range(x.shape[0]):
                row = x[i]
                print(row.nnz, *(f"{j} {v:.16g}" for j, v in zip(row.indices, row.data)), file=out)
            if min_df == 2:
                write_word_vectors(x)


def write_word_vectors(x):
    d, k, m = 12, 3, 5
    rows = make_rows("blobs", x.shape[0], d, 4, 41, 3.0).astype(np.float64)
    centres = make_rows("blobs", k, d, k, 42, 3.0).astype(np.float64)
    x = x.toarray()
    v = (x / x.sum(0)).T @ rows
    cosine = (v / np.linalg.norm(v, axis=1, keepdims=True)) @ (
        centres / np.linalg.norm(centres, axis=1, keepdims=True)).T
    with open_golden("word_vectors.txt") as out:
        print(len(v), d, k, m, file=out)
        for row in v:
            print(*(f"{value:.10g}" for value in row), file=out)
        for c in range(k):
            best = np.argsort(-cosine[:, c], kind="stable")[:m]
            print(*(f"{i} {cosine[i, c]:.10g}" for i in best), file=out)


def write_word_characters():
    pattern = re.compile(r"\w")
    with open_golden("word_characters.txt") as out:
        first = None
        for code in range(sys.maxunicode + 2):
            word = code <= sys.maxunicode and pattern.match(chr(code)) is not None
            if word and first is None:
                first = code
            elif not word and first is not None:
                print(f"{first:x} {code - 1:x}", file=out)
                first = None


# ---- scores and transforms ------------------------------------------------------------------


def purity(topics, labels):
    return sum(np.bincount(labels[topics == t]).max() for t in np.unique(topics)) / len(topics)


def write_scores():
    index = np.arange(300)
    u, v = uniform(51, index), uniform(52, index)
    cases = [
        ((6 * u).astype(int), (4 * v).astype(int)),  # independent
        ((6 * u).astype(int), np.where(v < 0.7, (6 * u).astype(int) // 2, (3 * v).astype(int))),
        ((5 * u).astype(int) * 1000003, (5 * u).astype(int)),  # the same under other names
        (np.zeros(40, int), index[:40] % 4),  # one topic
        (index[:40] % 4, np.zeros(40, int)),  # one label
        (np.zeros(9, int), np.zeros(9, int)),
        (index[:30], index[:30] % 7),  # a topic a row
        (index[:30], index[:30]),
        (np.zeros(1, int), np.ones(1, int)),
        (index[:4] % 2, index[:4] // 2),  # no information
    ]
    with open_golden("scores.txt") as out:
        for topics, labels in cases:
            print(f"{normalized_mutual_info_score(labels, topics):.17g}",
                  f"{purity(topics, labels):.17g}", f"{adjusted_rand_score(labels, topics):.17g}",
                  len(topics), file=out)
            print(*topics, file=out)
            print(*labels, file=out)


def write_transform():
    n, d, k, seed, spread, components = 300, 20, 4, 61, 3.0, 4
    x = make_rows("stretched", n, d, k, seed, spread).astype(np.float64)
    pca = PCA(components, svd_solver="full").fit(x)
    with open_golden("transform.txt") as out:
        print(n, d, k, seed, spread, components, file=out)
        print(*(f"{value:.12g}" for value in pca.mean_), file=out)
        for direction in pca.components_:
            direction = direction * math.copysign(1, direction[np.abs(direction).argmax()])
            print(*(f"{value:.12g}" for value in direction), file=out)


if __name__ == "__main__":
    write_kmeans()
    write_kmeans_seeds()
    write_kmeans_cosine()
    write_tfidf()
    write_word_characters()
    write_scores()
    write_transform()
