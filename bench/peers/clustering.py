"""What the scripts that compare k-means share: data, midashi's side, the report.

The centres that midashi has after its seeding and one iteration are where all start from; then
every side makes the same number of iterations, unless no label changes any more, and labels the
rows once more, unless it has. Time is taken of these alone, divided by how often the rows were
assigned. Seeding is timed by itself.
"""

import numpy

import common

ITERATIONS = 10
SHAPES = ((100_000, 576, 100), (1_000_000, 64, 1000), (5_894, 4096, 20))  # rows, width, clusters


def add_arguments(parser):
    """What to cluster."""
    parser.add_argument(
        "--shapes",
        default=",".join("x".join(map(str, shape)) for shape in SHAPES),
        help="ROWSxWIDTHxCLUSTERS, ... (%(default)s)",
    )
    parser.add_argument("--data", help="a float32 .npy (n, d) in the place of made-up rows")
    parser.add_argument("--clusters", type=int, default=20, help="of --data (20)")
    parser.add_argument("--no-seeding", action="store_true", help="do not time seeding")


def uniform(rows, width, _clusters):
    """Rows without any structure."""
    return numpy.random.default_rng(0).random((rows, width), numpy.float32)


def clustered(rows, width, clusters):
    """Rows in groups that overlap little, as many as there are to be found."""
    random = numpy.random.default_rng(1)
    centres = random.standard_normal((clusters, width), numpy.float32)
    groups = random.integers(0, clusters, rows)
    made = random.standard_normal((rows, width), numpy.float32)
    made += centres[groups]
    return made


def data_sets(options):
    """(name, rows, clusters), one after another."""
    if options.data:
        yield common.Path(options.data).name, numpy.load(options.data), options.clusters
        return
    for shape in options.shapes.split(","):
        rows, width, clusters = map(int, shape.split("x"))
        for make in (uniform, clustered):
            yield make.__name__, make(rows, width, clusters), clusters


class Midashi:
    """midashi's side, a process a run; reading the rows and seeding are not counted."""

    def __init__(self, rows, n_clusters, threads):
        self.n_clusters, self.threads = n_clusters, threads
        self.data, self.labels_file = common.WORK / "rows.npy", common.WORK / "labels.npy"
        self.centres_file = common.WORK / "centres.npy"
        numpy.save(self.data, rows)

    def cluster(self, iterations, *more):
        """The report of `midashi cluster`, which stops before only where no label changes."""
        options = ["--topics", self.n_clusters, "--threads", self.threads, "--tolerance", 0]
        files = [self.data, "--output", self.labels_file, *more]
        options += ["--max-iterations", iterations]
        return common.midashi_report("cluster", *files, *options)[0]

    def start(self):
        """The centres that the peers start from."""
        self.cluster(1, "--centres", self.centres_file)
        return numpy.load(self.centres_file)

    def run(self):
        """Wall-clock seconds of an iteration."""
        report = self.cluster(ITERATIONS, "--init", self.centres_file)
        passes = report["iterations"] + (not report["converged"])
        return report["seconds"] / passes, None

    def seed(self):
        """Wall-clock seconds of seeding."""
        return self.cluster(1)["seeding_seconds"], None

    def labels(self):
        """Of the last run."""
        return numpy.load(self.labels_file)


def inertia(rows, labels, n_clusters):
    """Of the rows around the means of their clusters, in float64."""
    total = 0.0
    for cluster in range(n_clusters):
        members = rows[labels == cluster].astype(float)
        if len(members):
            total += float(((members - members.mean(0)) ** 2).sum())
    return total


def measure(name, rows, n_clusters, threads, peers, n_turns):
    """A case. peers: {name: function of (rows, centres) that returns (labels, passes)}."""
    ours = Midashi(rows, n_clusters, threads)
    centres = ours.start()
    found = {}

    def runner(peer):
        def run():
            seconds, _ = common.timed(lambda: found.update({peer: peers[peer](rows, centres)}))
            return seconds / found[peer][1], None

        return run

    runners = {"midashi": ours.run, **{peer: runner(peer) for peer in peers}}
    table = common.compare(common.take_turns(runners, n_turns), "midashi", 1)
    found["midashi"] = (ours.labels(), 0)
    for row in table:
        labels = found[row["name"]][0]
        row["inertia"] = inertia(rows, labels, n_clusters)
        row["same_labels"] = float((labels == found["midashi"][0]).mean())
    return describe(name, rows, n_clusters, threads, table)


def measure_seeding(name, rows, n_clusters, threads, seed, n_turns):
    """A case of seeding alone. seed: function of rows, also greedy k-means++."""
    ours = Midashi(rows, n_clusters, threads)
    runners = {"midashi": ours.seed, "k-means++": lambda: common.timed(seed, rows)}
    table = common.compare(common.take_turns(runners, n_turns), "midashi", 1)
    return describe(f"seeding, {name}", rows, n_clusters, threads, table)


def describe(name, rows, n_clusters, threads, table):
    """A case."""
    shape = f"{name}, {rows.shape[0]} × {rows.shape[1]}, k = {n_clusters}"
    return {"data": shape, "threads": threads, "rows": table}


def report(case):
    """Prints a case."""
    print(f"{case['data']}; {case['threads']} thread{'s' * (case['threads'] > 1)}\n")
    header = ["", "ms", "midashi is so many times as fast", "inertia", "same labels"]
    rows = []
    for row in case["rows"]:
        milliseconds = common.spread([1e3 * seconds for seconds in row["seconds"]])
        ratio = common.in_words(row["ratio"]) if "ratio" in row else ""
        cells = [row["name"], common.in_words(milliseconds, 1), ratio]
        found = "inertia" in row
        cells.append(f"{row['inertia']:.6g}" if found else "")
        cells.append(f"{100 * row['same_labels']:.1f} %" if found else "")
        rows.append(cells)
    common.print_table(header, rows)


def run(name, description, versions, make_peers, make_seed=None):
    """A whole script. make_peers, make_seed: of (clusters, threads), what measure() and
    measure_seeding() take."""
    parser = common.arguments(description)
    add_arguments(parser)
    options = parser.parse_args()
    where = common.machine(versions)
    common.print_machine(where)
    cases = []
    for data, rows, n_clusters in data_sets(options):
        for threads in common.thread_counts(options):
            peers = make_peers(n_clusters, threads)
            case = measure(data, rows, n_clusters, threads, peers, options.turns)
            cases.append(case)
            report(case)
            if make_seed and not options.no_seeding:
                seed = make_seed(n_clusters, threads)
                case = measure_seeding(data, rows, n_clusters, threads, seed, options.turns)
                cases.append(case)
                report(case)
    common.store(name, where, cases)
