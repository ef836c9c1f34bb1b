"""k-means beside scikit-learn: the same rows, centres to start from and iterations.

    python3 bench/peers/run_scikit_learn.py [--data E.npy] [--threads N] [--turns N]

KMeans with the algorithms lloyd and elkan, of which elkan skips distances that bounds rule out;
and its kmeans_plusplus beside midashi's seeding.
"""

import common

NAME = "scikit_learn"
REQUIREMENTS = ["scikit-learn==1.9.1", "numpy==2.4.6", "threadpoolctl==3.8.0"]

if __name__ == "__main__":
    common.enter(NAME, REQUIREMENTS)

import warnings

import sklearn
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits

import clustering


def peer(algorithm, n_clusters, threads):
    """A function that runs it."""

    def run(rows, centres):
        with threadpool_limits(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            kmeans = KMeans(
                n_clusters,
                init=centres,
                n_init=1,
                max_iter=clustering.ITERATIONS,
                tol=0,
                algorithm=algorithm,
            ).fit(rows)
        stopped_early = kmeans.n_iter_ < clustering.ITERATIONS
        return kmeans.labels_, kmeans.n_iter_ + (not stopped_early)

    return run


def make_peers(n_clusters, threads):
    """Both algorithms."""
    return {name: peer(name, n_clusters, threads) for name in ("lloyd", "elkan")}


def make_seed(n_clusters, threads):
    """Its greedy k-means++, with as many trials a centre as midashi has."""

    def run(rows):
        with threadpool_limits(threads):
            kmeans_plusplus(rows, n_clusters, random_state=0)

    return run


if __name__ == "__main__":
    clustering.run(NAME, __doc__, {"scikit-learn": sklearn.__version__}, make_peers, make_seed)
