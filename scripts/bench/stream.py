"""Elec2 as a stream: the loop's accuracy against the no-change predictor, a frozen model and retraining by calendar.

    python scripts/bench/stream.py FOLDER [--verbose]
    python scripts/bench/stream.py --quick [FOLDER]

FOLDER holds elec2_norm.csv.gz (Harries 1999; the normalised form of MOA and scikit-multiflow): 45,312 half hours in
order of time, six numbers, whether the price of electricity rises. Every row is answered before its label is known, and
its label is known so many steps later. A quick run takes 16 weeks of it, or without FOLDER 16 weeks that are made up.
Once a day a strategy may change its model, by what was labelled until then:

    loop      watches its model's loss against that of rows held out when it was trained (e-detector, alpha .05, ever);
              on an alarm it trains a challenger, which answers in the shadow and replaces the model only when the
              paired evidence says that it is better (alpha .05)
    gated     trains a challenger every week, and replaces it by the same evidence
    fresh     the same, but the challenger in the shadow is trained anew every week, and evidence goes on: about what
              was the newest challenger each time
    calendar  replaces the model every two weeks, every week or every day, unasked

Each learns from the last 12 weeks; the calendar also from all the past. Everything that learns is the same LightGBM,
since three thousand models are trained: it fits 12 weeks in 0.03 s, our network in seconds. Accuracy is of all rows
after the first 12 weeks; intervals of its difference to the frozen model are of 95%, by bootstrap over weeks. The third
table gives every model the last label that was known as a feature: what the no-change predictor goes by.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
from parts.benchmark import Options, report

from tidemill.steward.evidence.detectors import RiseDetector
from tidemill.steward.evidence.paired import DifferenceEvidence, Question, Verdict

DAY = 48
WEEK = 7 * DAY
WINDOW = 12 * WEEK
QUICK = 16 * WEEK
SMALLEST = 0.01  # probability: log loss is scaled to [0, 1] by it, as serving/steward.yaml does
HELD_OUT = 0.2
TOLERANCE = 0.05
QUESTION = Question(alpha=0.05, gain=0.002)
LONGEST = 4 * WEEK
"""Labels after which a challenger that is neither better nor worse is given up."""
LEARNER = {"objective": "binary", "num_threads": 1, "deterministic": True, "seed": 0, "verbose": -1}
ROUNDS = 100
PUBLISHED = 0.8533
"""Accuracy of the no-change predictor, one step late, on all rows."""
TARGETS = {
    "no_change_on_all_rows": {"at_least": PUBLISHED, "at_most": PUBLISHED},
    "loop_over_frozen_lower": {"above": 0.0},
    "loop_over_calendar": {"above": 0.0},
    "loop_over_no_change": {"above": 0.0},
}

Predict = Callable[[slice], np.ndarray]


@dataclass(frozen=True)
class Stream:
    """features [rows, 6], labels [rows]; late: steps after which a row's label is known."""

    features: np.ndarray
    labels: np.ndarray
    late: int
    with_last_label: bool = False

    def __post_init__(self) -> None:
        if self.with_last_label:
            last = np.concatenate([np.full(self.late, np.nan), self.labels[: -self.late]])
            object.__setattr__(self, "features", np.column_stack([self.features, last]))

    def __len__(self) -> int:
        return len(self.labels)

    def known(self, now: int) -> int:
        """Rows whose label is known before row `now` is answered."""
        return max(now - self.late + 1, 0)

    def days(self) -> Iterator[slice]:
        for start in range(WINDOW, len(self), DAY):
            yield slice(start, min(start + DAY, len(self)))

    def fitted(self, rows: slice) -> Predict:
        data = lightgbm.Dataset(self.features[rows], self.labels[rows])
        model = lightgbm.train(LEARNER, data, ROUNDS)
        return lambda asked: np.asarray(model.predict(self.features[asked]))

    def losses(self, probabilities: np.ndarray, rows: slice) -> np.ndarray:
        """Log loss, scaled to [0, 1]."""
        right = np.where(self.labels[rows] == 1, probabilities, 1 - probabilities)
        return np.asarray(np.log(np.clip(right, SMALLEST, 1)) / np.log(SMALLEST))

    def promise(self, rows: slice) -> float:
        """Loss on the last fifth of rows of a model of the others, at the upper end of its interval."""
        split = rows.stop - round(HELD_OUT * (rows.stop - rows.start))
        held = slice(split, rows.stop)
        found = self.losses(self.fitted(slice(rows.start, split))(held), held)
        return float(found.mean() + 1.96 * found.std() / np.sqrt(len(found)))


@dataclass
class Course:
    """What a strategy came to."""

    probabilities: np.ndarray
    trained: int = 0
    replaced: int = 0
    reasons: list[str] = field(default_factory=list)


def no_change(stream: Stream) -> Course:
    answered = np.arange(WINDOW, len(stream))
    return Course(probabilities=stream.labels[answered - stream.late].astype(float))


def calendar(stream: Stream, every: int | None, window: int | None = WINDOW) -> Course:
    """every: rows between replacements; None: never. window: rows that are learned from; None: all there are."""
    course, model = Course(probabilities=np.zeros(0)), None
    for index, day in enumerate(stream.days()):
        if model is None or (every is not None and index * DAY % every == 0):
            known = stream.known(day.start)
            model = stream.fitted(slice(0 if window is None else max(known - window, 0), known))
            course.trained += 1
            course.replaced += course.trained > 1
        course.probabilities = np.append(course.probabilities, model(day))
    return course


@dataclass
class Contender:
    """A model in use or in shadow: from which row on it answers, and all of its answers."""

    model: Predict
    begins: int
    answers: np.ndarray
    judged: int


def begun(stream: Stream, now: int, learned: slice) -> Contender:
    return Contender(model=stream.fitted(learned), begins=now, answers=np.full(len(stream), np.nan), judged=now)


def loop(stream: Stream, every: int | None = None, *, fresh: bool = False) -> Course:
    """every: a challenger is trained after so many rows; None: when harm shows. fresh: also while one is in shadow."""
    course = Course(probabilities=np.zeros(0), trained=1)
    learned = slice(0, stream.known(WINDOW))
    champion, detector = begun(stream, WINDOW, learned), harm(stream, learned)
    challenger, evidence = None, DifferenceEvidence(question=QUESTION)
    answers = np.full(len(stream), np.nan)
    for index, day in enumerate(stream.days()):
        known = stream.known(day.start)
        labelled = slice(champion.judged, max(known, champion.judged))
        detector.update(stream.losses(answers[labelled], labelled))
        champion.judged = labelled.stop
        if challenger is not None and known > challenger.judged:
            both = slice(challenger.judged, known)
            ours, theirs = (stream.losses(given[both], both) for given in (challenger.answers, answers))
            evidence.update(ours - theirs)
            challenger.judged = known
        verdict = said(evidence)
        if challenger is not None and verdict is not Verdict.UNDECIDED:
            course.reasons.append(f"row {day.start}: challenger {verdict} after {evidence.count} labels")
            if verdict is Verdict.BETTER:
                champion, detector = challenger, harm(stream, learned)
                champion.judged = day.start
                course.replaced += 1
            challenger = None
        asked = index * DAY % every == 0 if every is not None else bool(detector.alarm)
        if asked and index and (fresh or challenger is None):
            learned = slice(max(known - WINDOW, 0), known)
            course.trained += 1
            if challenger is None:
                challenger, evidence = begun(stream, day.start, learned), DifferenceEvidence(question=QUESTION)
            else:
                challenger.model = stream.fitted(learned)
        answers[day] = champion.model(day)
        if challenger is not None:
            challenger.answers[day] = challenger.model(day)
    course.probabilities = answers[WINDOW:]
    return course


def said(evidence: DifferenceEvidence) -> Verdict:
    for verdict in (Verdict.WORSE, Verdict.BETTER, Verdict.FUTILE):
        if evidence.shows(verdict):
            return verdict
    return Verdict.INCONCLUSIVE if evidence.count >= LONGEST else Verdict.UNDECIDED


def harm(stream: Stream, learned: slice) -> RiseDetector:
    baseline = stream.promise(learned) * (1 + TOLERANCE)
    return RiseDetector(alpha=0.05, within=4 * WEEK, anytime=True, baseline=min(baseline, 0.99))


STRATEGIES: dict[str, Callable[[Stream], Course]] = {
    "no change": no_change,
    "frozen": lambda stream: calendar(stream, None),
    "calendar, 2 weeks": lambda stream: calendar(stream, 2 * WEEK),
    "calendar, 2 weeks, all the past": lambda stream: calendar(stream, 2 * WEEK, None),
    "calendar, weekly": lambda stream: calendar(stream, WEEK),
    "calendar, daily": lambda stream: calendar(stream, DAY),
    "gated, weekly": lambda stream: loop(stream, WEEK),
    "gated, weekly, fresh": lambda stream: loop(stream, WEEK, fresh=True),
    "loop": loop,
}


def table(stream: Stream, *, verbose: bool) -> dict[str, dict[str, float]]:
    """Prints and returns what each strategy came to."""
    true, figures = stream.labels[WINDOW:], {}
    frozen: np.ndarray | None = None
    also = ", the last label a feature" if stream.with_last_label else ""
    print(f"\nlabels {stream.late} step{'s' * (stream.late > 1)} late{also} ({len(true):,} rows)")
    print(f"{'':<34}{'accuracy':>9}{'minus frozen':>22}{'log loss':>10}{'trained':>9}{'replaced':>10}{'seconds':>9}")
    for name, strategy in STRATEGIES.items():
        began = time.perf_counter()
        course = strategy(stream)
        seconds = time.perf_counter() - began
        right = ((course.probabilities > 0.5) == true).astype(float)
        loss = stream.losses(course.probabilities, slice(WINDOW, None)).mean() * -np.log(SMALLEST)
        if name == "frozen":
            frozen = right
        low, high = interval(right - frozen) if frozen is not None else (0.0, 0.0)
        gain = "" if frozen is None or name == "frozen" else f"{low:+.4f} to {high:+.4f}"
        counts = f"{course.trained:>9}{course.replaced:>10}{seconds:>9.1f}"
        counted = {"trained": course.trained, "replaced": course.replaced}
        print(f"{name:<34}{right.mean():>9.4f}{gain:>22}{loss:>10.4f}{counts}", flush=True)
        if verbose:
            print("".join(f"    {reason}\n" for reason in course.reasons), end="")
        figures[name] = {"accuracy": float(right.mean()), "over_frozen": low, "log_loss": float(loss), **counted}
    return figures


def interval(differences: np.ndarray, resamples: int = 1_000) -> tuple[float, float]:
    """95% of the mean by bootstrap over weeks."""
    starts = np.arange(0, len(differences), WEEK)
    sums, sizes = np.add.reduceat(differences, starts), np.diff(starts, append=len(differences))
    drawn = np.random.default_rng(0).integers(0, len(starts), (resamples, len(starts)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def read(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels; without a folder made up: what the first number says is turned round after 13 weeks."""
    if folder is not None:
        content = pl.read_csv(folder / "elec2_norm.csv.gz")
        return content.drop("target").to_numpy(), content["target"].to_numpy()
    rng, rows = np.random.default_rng(0), QUICK
    features, later = rng.random((rows, 6)), np.arange(rows) >= 13 * WEEK
    features[later, 1] += 1
    rising = (features[:, 0] + 0.2 * rng.standard_normal(rows) > 0.5) != later
    return features, rising.astype(int)


def main() -> None:
    parser = Options(__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--verbose", action="store_true", help="what became of each challenger")
    arguments = parser.chosen()
    if arguments.folder is None and not arguments.quick:
        parser.error("FOLDER is needed, but for --quick")
    features, labels = (values[: QUICK if arguments.quick else None] for values in read(arguments.folder))
    unchanged = float((labels[1:] == labels[:-1]).mean())
    print(f"no change, one step late, all {len(labels):,} rows: {unchanged:.4f} (published: {PUBLISHED})")
    streams = {
        "1 step late": Stream(features=features, labels=labels, late=1),
        "48 steps late": Stream(features=features, labels=labels, late=DAY),
        "1 step late, last label a feature": Stream(features=features, labels=labels, late=1, with_last_label=True),
    }
    tables = {name: table(stream, verbose=arguments.verbose) for name, stream in streams.items()}
    first = {name: found["accuracy"] for name, found in tables["1 step late"].items()}
    figures = {
        "no_change_on_all_rows": round(unchanged, 4),
        "loop_over_frozen_lower": tables["1 step late"]["loop"]["over_frozen"],
        "loop_over_calendar": first["loop"] - first["calendar, 2 weeks"],
        "loop_over_no_change": first["loop"] - first["no change"],
        "streams": tables,
    }
    report(__file__, figures, TARGETS)


if __name__ == "__main__":
    main()
