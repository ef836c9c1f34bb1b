"""What fine-tuning gains, on the texts that were held out: docs/quality.md's table.

    build/midashi topics CORPUS.tsv --model MODEL --topics K --output PLAIN
    build/midashi topics CORPUS.tsv --model MODEL --topics K --output TUNED --finetune
    python tools/quality/finetuned.py TUNED PLAIN [ja]

Prints the accuracy of the adapter, from TUNED/adapter/training.json, beside that of TF-IDF with
logistic regression, trained on the same texts and tested on the same ones; then NMI (arithmetic)
and purity of the topics on the texts held out, TUNED's and PLAIN's. PLAIN's topics were found in all
texts, those held out too, which is in its favour. With `ja` the words are MeCab's (baselines.py).
scikit-learn 1.9.1.
"""
import csv
import json
import pathlib
import sys

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score

from baselines import japanese, purity


def read(folder):
    with open(pathlib.Path(folder, "documents.csv"), encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bag_of_words(rows, language):
    """The better of the smoothing strengths: the baseline is to be at its best."""
    texts = [row["text"] for row in rows]
    if language == "ja":
        texts = japanese(texts)
    train = [i for i, row in enumerate(rows) if row["held_out"] == "0" and row["topic"] != "-1"]
    test = [i for i, row in enumerate(rows) if row["held_out"] == "1"]
    labels = [row["label"] for row in rows]
    best = 0
    for n in (1, 2):
        vectorizer = TfidfVectorizer(ngram_range=(1, n), sublinear_tf=True)
        x = vectorizer.fit_transform([texts[i] for i in train])
        for c in (1, 10, 100):
            model = LogisticRegression(C=c, max_iter=2000).fit(x, [labels[i] for i in train])
            y = model.predict(vectorizer.transform([texts[i] for i in test]))
            accuracy = sum(a == labels[i] for a, i in zip(y, test)) / len(test)
            print(f"  TF-IDF of 1..{n} words, C = {c}: {accuracy:.4f}", flush=True)
            best = max(best, accuracy)
    return best


def main(tuned, plain, language=None):
    rows, before = read(tuned), read(plain)
    held = [i for i, row in enumerate(rows) if row["held_out"] == "1" and row["label"]]
    result = json.loads(pathlib.Path(tuned, "adapter", "training.json").read_text())
    print(f"adapter: accuracy {result['validation_accuracy']:.4f}, loss "
          f"{result['validation_loss']:.4f} at step {result['best_step']}")
    print(f"bag of words: accuracy {bag_of_words(rows, language):.4f}")
    labels = [rows[i]["label"] for i in held]
    for name, source in (("fine-tuned", rows), ("plain", before)):
        topics = [source[i]["topic"] for i in held]
        print(f"{name}: NMI {normalized_mutual_info_score(labels, topics):.3f}, purity "
              f"{purity(topics, labels):.3f} on {len(held)} texts held out")


if __name__ == "__main__":
    main(*sys.argv[1:])
