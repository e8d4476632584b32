import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from neuroexapt.cli import main
from neuroexapt.runs import read_events, read_summary
from neuroexapt.training import RECIPES

QUICK = """
data = "digits"
epochs = 4
device = "cpu"

[growth]
policy = "papers"
every = 2
until = 1.0
split_probability = 1.0
entropy_threshold = 0.0
"""


@pytest.fixture
def quick(elsewhere: Path) -> str:
    """A file of settings that grow a network in a second."""
    (elsewhere / "quick.toml").write_text(QUICK)
    return "quick.toml"


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed: one line on stderr."""
    found = capsys.readouterr()
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    return found.err


def test_grow_prints_a_line_an_epoch_and_an_edit(quick: str, capsys: pytest.CaptureFixture[str]):
    assert main(["grow", "--config", quick, "--out", "run"]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    lines = found.out.splitlines()
    summary = read_summary(Path("run/summary.json"))
    assert lines[0].startswith("training tiny-conv on digits, seed 0: 1,030 params")
    assert sum(line.startswith("epoch ") for line in lines) == 4
    assert sum(line.startswith("grew: ") for line in lines) == summary.edits > 0
    assert lines[-1].startswith("done: test ")
    assert "\x1b" not in found.out
    assert summary.command == "neuroexapt grow --config quick.toml --out run"


def test_grow_options_override_the_file(quick: str):
    options = ["--epochs", "1", "--seed", "5", "--max-params", "2e3", "--max-flops", "2e13"]
    assert main(["grow", "--config", quick, "--out", "run", "--amp", *options]) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert (config["epochs"], config["seed"], config["max_params"]) == (1, 5, 2000)
    assert config["max_flops"] == 2e13
    assert config["recipe"]["amp"] is True
    assert config["growth"]["every"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"data": "digits", "recipe": "amp"}', "a.json: there is no recipe 'amp'"),
        ("a.json", '{"data": "digits", "recipe": 3}', "a.json: recipe: input should be a "),
        ("a.toml", 'data = "digits"\ndata_dir = 5', "a.toml: data_dir: input should be a valid st"),
        ("a.toml", 'data = "cats"\ndata_dir = 5', "a.toml: data_dir: input should be a valid st"),
        ("a.toml", 'data = "digits"\nthreads = 1000000', "a.toml: threads: input should be less"),
    ],
)
def test_grow_amp_with_a_bad_file_is_one_line_and_2(
    name: str, content: str, message: str, capsys: pytest.CaptureFixture[str]
):
    Path(name).write_text(content)
    assert main(["grow", "--config", name, "--amp", "--out", "run"]) == 2
    assert message in error_line(capsys)
    assert not Path("run").exists()


def test_grow_amp_with_an_empty_recipe(elsewhere: Path):
    Path("a.json").write_text('{"data": "digits", "recipe": null, "epochs": 1, "device": "cpu"}')
    assert main(["grow", "--config", "a.json", "--amp", "--no-growth", "--out", "run"]) == 0
    assert json.loads(Path("run/config.json").read_text())["recipe"]["amp"] is True


def test_grow_recipe_by_its_name_under_the_files_settings(quick: str):
    with Path(quick).open("a") as file:
        file.write("[recipe]\nbatch_size = 100\n")
    options = ["--recipe", "airbench", "--amp", "--epochs", "1", "--no-growth"]
    assert main(["grow", "--config", quick, "--out", "run", *options]) == 0
    changed = {"batch_size": 100, "amp": True}
    expected = RECIPES["airbench"].model_copy(update=changed)
    assert json.loads(Path("run/config.json").read_text())["recipe"] == expected.model_dump()
    assert read_summary(Path("run/summary.json")).test_views == "shifted"


def test_grow_recipe_on_the_command_line_wins_over_the_files(elsewhere: Path):
    Path("a.json").write_text('{"data": "digits", "recipe": "unheard-of", "epochs": 1}')
    args = ["grow", "--config", "a.json", "--no-growth", "--recipe", "airbench", "--out", "run"]
    assert main(args) == 0
    assert json.loads(Path("run/config.json").read_text())["recipe"]["optimizer"] == "muon"


def test_grow_no_growth(quick: str, capsys: pytest.CaptureFixture[str]):
    assert main(["grow", "--config", quick, "--no-growth", "--out", "run"]) == 0
    assert "grew:" not in capsys.readouterr().out
    assert read_summary(Path("run/summary.json")).edits == 0


def test_grow_without_out_makes_a_folder_in_runs(quick: str):
    assert main(["grow", "--config", quick, "--epochs", "1", "--seed", "3"]) == 0
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("digits-seed3-")


def test_grow_model_from_the_current_folder(quick: str):
    Path("a_users_models.py").write_text(
        "from torch import nn\n"
        "def small(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(),"
        " nn.Linear(3, num_classes))\n"
    )
    args = ["--config", quick, "--model", "a_users_models:small", "--out", "run"]
    assert main(["grow", *args]) == 0
    assert read_summary(Path("run/summary.json")).params_seed == 65 * 3 + 4 * 10


def test_grow_resume_finished_run(finished: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["grow", "--resume", str(finished)]) == 0
    assert f"is over: all 2 epochs are trained; see {finished}" in capsys.readouterr().out


def test_grow_resume_from_checkpoint(
    finished: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
):
    shutil.copytree(finished, "run")
    assert main(["grow", "--resume", "run/checkpoints/epoch-0001"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("resuming tiny-conv on digits")
    assert "epoch 2/2" in out
    assert "epoch 1/2" not in out
    kinds = [event["event"] for event in read_events(Path("run/events.jsonl"))]
    assert kinds == ["start", "epoch", "resume", "epoch", "end"]
    summary, other = read_summary(Path("run/summary.json")), read_summary(finished / "summary.json")
    assert summary.model_copy(update={"seconds": 0}) == other.model_copy(update={"seconds": 0})


def test_grow_resume_takes_no_other_settings(finished: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["grow", "digits", "--resume", str(finished), "--epochs", "3", "--no-growth"]) == 2
    assert "leave out DATA, --epochs, --no-growth" in error_line(capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def net(:\n", "line 1 (SyntaxError: "),
        ("import sys\nsys.exit()\n", "line 2 (SystemExit)"),
        ("def net():\n    raise OSError('no\\nweights')\n", "line 2 (OSError: no); mend it"),
        (
            (
                "from torch import nn\nclass Net(nn.Linear):\n    def forward(self, x):\n"
                "        return X\ndef net():\n    return Net(1, 2)\n"
            ),
            "Net doesn't run on the example_input of shapes [(8, 1, 8, 8)]: name 'X' is not",
        ),
    ],
)
def test_grow_failing_model_is_one_line_and_2(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
):
    name = f"failing_{abs(hash(text))}"
    Path(f"{name}.py").write_text(text)
    assert main(["grow", "digits", "--model", f"{name}:net", "--out", "run"]) == 2
    assert message in error_line(capsys)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--epochs", "3"], "DATA is missing"),
        (["digitz"], "digitz is no data set known by name (digits, cifar10, cifar100) and no fold"),
        (["digits", "--model", "huge"], "huge is no model known by name"),
        (["digits", "--model", "no.such:net"], "there is no module no"),
        (
            ["digits", "--threads", "1000000"],
            "threads: input should be less than or equal to 1024, ",
        ),
        (["digits", "--device", "abacus"], "the device 'abacus' can't be used"),
        (["digits", "--config", "none.toml"], "none.toml cannot be read (No such file"),
        (["digits", "--config", "bad.toml"], "bad.toml: there is no setting 'epoks'; is 'epochs'"),
        (["cifar10", "--data-dir", "nowhere"], "there is no folder"),
        (["photos"], "notes.txt"),
        (["digits", "--out", "."], ". is not empty"),
        (["--resume", "photos"], "photos holds no run"),
    ],
)
def test_grow_refused_is_one_line_and_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    Path("bad.toml").write_text("epoks = 3\n")
    for name in ("cats", "dogs"):
        Path("photos", name).mkdir(parents=True)
        for number in range(10):
            Path("photos", name, f"notes.txt{number}").write_text("no image")
    assert main(["grow", *args]) == 2
    assert message in error_line(capsys)
    assert not Path("runs").exists()


def images(folder: str, sizes: list[tuple[int, int]]) -> None:
    for name in ("cats", "dogs"):
        Path(folder, name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            Image.new("RGB", size, (number, number, number)).save(f"{folder}/{name}/{number}.png")


def test_grow_images_of_several_sizes(elsewhere: Path, capsys: pytest.CaptureFixture[str]):
    images("photos", [(3 + number, 5) for number in range(10)])
    args = ["grow", "photos", "--epochs", "1", "--device", "cpu", "--out", "run"]
    assert main(args) == 2
    assert "give an image size to bring all to (--image-size)" in error_line(capsys)
    assert main([*args, "--image-size", "6"]) == 0
    found = capsys.readouterr()
    assert found.err.startswith("warning: photos: the validation part holds only 2 images, so ")
    assert found.err.count("\n") == 1
    assert json.loads(Path("run/config.json").read_text())["image_size"] == 6
    assert logging.getLogger("neuroexapt").handlers == []


def test_grow_images_of_a_pixel(elsewhere: Path, capsys: pytest.CaptureFixture[str]):
    images("photos", [(1, 1)] * 200)
    assert main(["grow", "photos", "--out", "run"]) == 2
    assert "1 by 1 pixels has to be at least 2; give a larger --image-size" in error_line(capsys)
    assert not Path("run").exists()


def test_grow_existing_run_says_how_to_go_on(finished: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["grow", "digits", "--out", str(finished)]) == 2
    assert f"{finished} holds a run already; go on with it by --resume {finished}" in error_line(
        capsys
    )


def test_grow_loss_not_finite_is_1(quick: str, capsys: pytest.CaptureFixture[str]):
    Path(quick).write_text(QUICK + "[recipe]\nlr = 1e18\n")
    assert main(["grow", "--config", quick, "--out", "run"]) == 1
    assert "the loss is" in error_line(capsys)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other pipes")
def test_grow_whose_reader_leaves_says_how_to_go_on(elsewhere: Path):
    command = [sys.executable, "-m", "neuroexapt", "grow"]
    process = subprocess.Popen(
        [*command, "digits", "--epochs", "400", "--device", "cpu", "--out", "a run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert err == (
        "error: stdout cannot be written (Broken pipe); the run is kept up to its newest "
        f"checkpoint, go on with: neuroexapt grow --resume '{elsewhere / 'a run'}'\n"
    )


@pytest.mark.parametrize("module", ["torch", "scipy", "sklearn"])
def test_grow_interrupted_while_importing_is_one_line_and_130(module: str, elsewhere: Path):
    code = """if True:
        import os, runpy, signal, sys

        class Interrupting:
            def find_spec(name, path=None, target=None):
                if name == MODULE:
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Interrupting)
        sys.argv = ["neuroexapt", "grow", "digits", "--out", "run"]
        runpy.run_module("neuroexapt", run_name="__main__")
    """
    found = subprocess.run(
        [sys.executable, "-c", code.replace("MODULE", repr(module))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 130
    assert (found.stdout, found.stderr) == ("", "error: interrupted before training began\n")
    assert not Path("run").exists()


def test_grow_interrupted_is_130_and_resumes(elsewhere: Path):
    command = [sys.executable, "-m", "neuroexapt", "grow"]
    options = ["digits", "--epochs", "400", "--device", "cpu", "--out", "run"]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch 2/"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith("error: interrupted; the run is kept up to its newest checkpoint, go on ")
    assert err.endswith(f"neuroexapt grow --resume {elsewhere / 'run'}\n")
    events = read_events(Path("run/events.jsonl"))
    assert (events[-1]["event"], events[-1]["reason"]) == ("stop", "interrupted")
    epochs = sum(event["event"] == "epoch" for event in events)
    assert epochs in (len(list(Path("run/checkpoints").iterdir())), epochs)
    newest = max(Path("run/checkpoints").iterdir())
    assert int(newest.name[-4:]) in (epochs, epochs - 1)
