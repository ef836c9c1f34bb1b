"""k-means beside faiss: the same rows, centres to start from and iterations.

    python3 bench/peers/run_faiss.py [--data E.npy] [--threads N] [--turns N]

Its Kmeans takes all rows, not a sample; labels are a search after the last iteration. (Its option
use_super_kmeans makes no difference for these rows.)
"""

import common

NAME = "faiss"
REQUIREMENTS = ["faiss-cpu==1.15.1", "numpy==2.4.6"]

if __name__ == "__main__":
    common.enter(NAME, REQUIREMENTS)

import faiss

import clustering


def make_peers(n_clusters, threads):
    """faiss.Kmeans."""

    def run(rows, centres):
        faiss.omp_set_num_threads(threads)
        kmeans = faiss.Kmeans(
            rows.shape[1],
            n_clusters,
            niter=clustering.ITERATIONS,
            min_points_per_centroid=1,
            max_points_per_centroid=rows.shape[0],
        )
        kmeans.train(rows, init_centroids=centres)
        # It stops early where the objective stays.
        return kmeans.index.search(rows, 1)[1][:, 0], len(kmeans.obj) + 1

    return {"faiss": run}


if __name__ == "__main__":
    clustering.run(NAME, __doc__, {"faiss-cpu": faiss.__version__}, make_peers)
