"""Logs of searches: what is read, and what is said of those that can't be."""

import json

import pytest

from neuroexapt.errors import DataError
from neuroexapt.search import SearchRun, read_runs

RUN = {
    "run": "0.0_0.0003",
    "seed": 1,
    "weight_decay": 0.0003,
    "drop_path": 0.0,
    "n_epochs": 4,
    "skips_normal": [0, 2, 4, 7],
    "skips_reduce": [0, 0, 1, 1],
    "train_err": [60.0, 40.0, 20.0, 10.0],
    "valid_err": [50.0, 38.0, 24.0, 20.0],
    "ev_epochs": [0, 2, 3],
    "ev_max": [0.1, 0.2, 0.4],
    "alpha_grad_norm": [0.3, 0.2, 0.1],
    "final_genotype": "Genotype()",
}


def written(tmp_path, content):
    path = tmp_path / "log.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_read_runs_keeps_what_was_logged(tmp_path):
    (run,) = read_runs(written(tmp_path, [RUN]))
    assert (run.name, run.seed, run.setting) == ("0.0_0.0003", 1, (0.0, 0.0003))
    assert run.skip_shares == (0, 2 / 8, 4 / 8, 7 / 8)
    assert run.errors() == ((60, 50), (40, 38), (20, 24), (10, 20))
    assert run.is_whole and not run.holds_accuracies
    assert SearchRun.model_validate_json(run.model_dump_json(by_alias=True)) == run


def test_read_runs_takes_a_log_of_skips_alone(tmp_path):
    (run,) = read_runs(written(tmp_path, {"skips_normal": [1, 2], "train_err": None}))
    assert (run.num_epochs, run.errors(), run.ev_max) == (2, (), ())


def test_read_runs_takes_a_running_search(tmp_path):
    path = written(tmp_path, [{"skips_normal": [1, 2]}])
    (run,) = read_runs(path, num_epochs=50)
    assert run.num_epochs == 50 and not run.is_whole


def test_until_is_the_log_of_that_time():
    run = SearchRun.model_validate(RUN)
    cut = run.until(3)
    assert cut.skips_normal == (0, 2, 4) and cut.valid_err == (50, 38, 24)
    assert (cut.ev_epochs, cut.ev_max) == ((0, 2), (0.1, 0.2))
    assert cut.num_epochs == 4 and not cut.is_whole and cut.final_genotype == ""
    assert run.until(9) == run
    assert SearchRun.model_validate(cut.model_dump()) == cut, "a cut log is a log"
    with pytest.raises(ValueError, match="at least 1 epoch, can't cut it to 0"):
        run.until(0)


def test_accuracies_under_the_name_of_errors_are_turned_round():
    rising = SearchRun(skips_normal=[0] * 4, train_err=[38, 50, 60, 70], valid_err=[46, 53, 63, 72])
    assert rising.holds_accuracies
    assert rising.errors()[-1] == (30, 28)


@pytest.mark.parametrize(
    ("train", "valid", "accuracies"),
    [
        ([77, 77, 76, 76], [77, 80, 88, 85], False),  # hardly learns, noisy: still errors
        ([62, 40, 45, 71], [52, 33, 26, 26], False),  # drop-path makes training harder
        ([21, 21, 20, 20], [21, 16, 10, 19], True),  # hardly learns, as accuracies
        ([40, 22, 15, 12], [30, 20, 14, 12], False),  # easy data: a low start, but it halves
        ([60, 80, 90, 94], [70, 85, 91, 93], True),  # easy data, as accuracies
    ],
)
def test_holds_accuracies_goes_by_start_and_direction(train, valid, accuracies):
    run = SearchRun(skips_normal=[0] * 4, train_err=train, valid_err=valid)
    assert run.holds_accuracies is accuracies


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "isn't JSON"),
        ([], "holds an empty list; a search log is a JSON list with an object a run"),
        ("3", "holds a int"),
        ([3], "run 0 .* is a int; it must be an object"),
        ([{"run": "a"}], r"run 0 .*\(a\).*skips_normal: Field required"),
        ([RUN, {**RUN, "skips_normal": []}], "run 1 .*skips_normal is empty"),
        ([{**RUN, "skips_normal": [0, 1.5, 2, 3]}], r"skips_normal\.1: .*valid integer"),
        ([{**RUN, "train_err": [1.0]}], "train_err has 1 values and skips_normal 4; .* cut"),
        ([{**RUN, "valid_err": []}], "train_err and valid_err .* one without the other"),
        ([{**RUN, "ev_max": [1.0]}], "ev_max has 1 values and ev_epochs 3"),
        ([{**RUN, "ev_epochs": [0, 2, 4]}], "ev_epochs must rise and stay under the 4 epochs"),
        ([{**RUN, "ev_epochs": [0, 3, 2]}], "ev_epochs must rise"),
        ([{**RUN, "n_epochs": 3}], "n_epochs is 3, but skips_normal has 4 epochs"),
        ([{**RUN, "skips_normal": [0, 2, 4, 9]}], "9 skips among 8 edges; set num_edges"),
        ([{**RUN, "valid_err": [50.0, 38.0, 24.0, 120.0]}], r"valid_err\.3: .*less than or equal"),
        (
            [{**RUN, "train_err": [0.6, 0.4, 0.3, 0.2], "valid_err": [0.5, 0.4, 0.3, 0.3]}],
            "errors are at most 1; give them in %",
        ),
    ],
)
def test_read_runs_says_what_is_wrong(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_runs(written(tmp_path, content))


def test_read_runs_of_no_file(tmp_path):
    with pytest.raises(
        DataError, match=r"none\.json can't be read .*give the folder of a search, or the path"
    ):
        read_runs(tmp_path / "none.json")
