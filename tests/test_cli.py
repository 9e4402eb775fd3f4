"""The command line: exit codes, one line per error, nothing written before it must be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from allroads import cli
from allroads.roads.atlas import all_controls, atlas
from tests.lab import tiny
from tests.lab.conftest import Straight
from tests.lab.conftest import straight as straight  # a fixture of all tests of whole runs
from tests.words import save_model, write_preferences, write_rows


@dataclass(frozen=True)
class Answer:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


Run = Callable[..., Answer]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`allroads ARGUMENTS`, in this process."""

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["allroads", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        code = left.value.code
        return Answer(code if isinstance(code, int) else 0 if code is None else 1, *said)

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preferences(tmp_path_factory.mktemp("data") / "pairs.jsonl", 300)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(tiny.fields()))
    return path


# Starting up --------------------------------------------------------------------------------------


def test_help_is_fast_because_nothing_heavy_is_imported():
    """In a process of its own: this one has imported everything."""
    program = (
        "import sys; sys.argv = ['allroads', 'compare', '--help']\n"
        "import allroads.cli\n"
        "try: allroads.cli.main()\n"
        "except SystemExit as left: assert left.code == 0, left.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'sklearn', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert "--demonstrations" in done.stdout


def test_the_module_is_the_command():
    """`python -m allroads`, as a user runs it: the error comes without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "allroads", "compare", "--out", "x", "--betas", "low"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    expected = "--betas 'low': expected numbers separated by commas (float)"
    assert done.stderr == f"error: {expected}\n"
    assert done.stdout == ""


def test_a_configuration_that_is_not_there(run: Run):
    answer = run("compare", "--out", "x", "--config", "/nowhere.yaml")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "error: --config /nowhere.yaml: No such file or directory\n"


def test_without_arguments_there_is_help(run: Run):
    answer = run()
    assert answer.code == 2
    assert "compare" in answer.out + answer.err


@pytest.mark.parametrize(
    "command", ["compare", "train", "roads", "report", "judge", "exact", "doctor", "data"]
)
def test_every_command_has_help(run: Run, command: str):
    answer = run(command, "--help")
    assert answer.code == 0
    assert "Usage" in answer.out
    assert answer.err == ""


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["compare", "--world", "routes", "--out", "x", "--sede", "3"], "--sede"),
        (["compare", "--world", "routes"], "--out"),
        (["compare", "--world", "routes", "--out", "x", "--max-length", "long"], "--max-length"),
        (["train", "dpo", "--world", "routes", "--out", "x", "--beta", "low"], "--beta"),
        (["compere"], "compere"),
        (["train", "--world", "routes", "--out", "x"], "road"),
    ],
)
def test_what_the_parser_refuses(run: Run, arguments: list[str], names: str):
    answer = run(*arguments)
    assert answer.code == 2
    assert names in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "many"], "--seeds 'many': expected numbers separated by commas (int)"),
        (["--seeds", "0.5"], "--seeds '0.5': expected numbers separated by commas (int)"),
        (["--seeds", ""], "--seeds '': expected numbers separated by commas (int)"),
        (["--seeds", "0"], "seeds: "),
        (["--seeds", "-2"], "seeds: "),
        (["--seeds", "1,1"], "--seeds: a value is given twice: [1, 1]"),
        (["--betas", "0.1,low"], "--betas '0.1,low': expected numbers separated by commas (float)"),
        (["--betas", "0.1,-1"], "--betas: each must be positive, got [0.1, -1.0]"),
        (["--betas", "0"], "--betas: each must be positive, got [0.0]"),
        (["--betas", "nan"], "--betas: each must be positive, got [nan]"),
        (["--betas", "inf"], "--betas: each must be positive, got [inf]"),
        (["--betas", "1,1.0"], "--betas: a value is given twice: [1.0, 1.0]"),
        (["--n", "2,two"], "--n '2,two': expected numbers separated by commas (int)"),
        (["--n", "2,64"], "--n: each must lie between 1 and the pool of 8 samples, got [2, 64]"),
        (["--n", "0"], "--n: each must lie between 1 and the pool of 8 samples, got [0]"),
        (["--roads", "dpo,onlin-dpo"], "road 'onlin-dpo' is unknown: did you mean 'online-dpo'?"),
        (["--roads", "dpo,dpo"], "--roads: a value is given twice: ['dpo', 'dpo']"),
        (["--start", "base"], "--start base: a world's pairs are samples of its SFT policy"),
        (["--start", "stf"], "start: "),
        (["--device", "gpu"], "device: Input should be 'auto', 'cpu', 'cuda' or 'mps', found"),
        (["--dtype", "int8"], "dtype: Input should be 'float32', 'bfloat16' or 'float64', found"),
        (["--threads", "0"], "threads: "),
        (["--processes", "0"], "processes: "),
        (["--eval-prompts", "-1"], "eval_prompts: "),
        (["--max-new-tokens", "0"], "max_new_tokens: "),
        (["--policy", "mine"], "--policy 'mine': expected NAME=DIR"),
        (["--policy", "=dir"], "--policy '=dir': expected NAME=DIR"),
        (["--policy", "dpo=dir"], "--policy dpo: a road has that name; choose another"),
        (["--policy", "sft=dir"], "--policy sft: a road has that name; choose another"),
        (["--verifier", "f.py"], "--verifier f.py: a world brings its own; leave it out"),
        (["--judge-url", "http://h"], "go together: found --judge-url without --judge-model"),
        (["--judge-model", "m"], "go together: found --judge-model without --judge-url"),
        (["--judge-url", "http://u:p@h", "--judge-model", "m"], "--judge-url holds credentials"),
        (["--judge-key-env", "sk-1"], "--judge-key-env takes the NAME of an environment variable"),
        (["--judge-max-tokens", "0"], "judge_max_tokens: "),
        (["--roads", "rloo@judge"], "road 'rloo@judge' is labelled by a judge, and none is given"),
        (["--roads", "rloo@me"], "road 'rloo@me': labeller 'me' is unknown: "),
        (["--model", "dir"], "--world brings its own model and demonstrations; leave them out"),
        (["--demonstrations", "f"], "--world brings its own model and demonstrations; leave"),
        (["--data", "f.jsonl"], "give either --data FILE --model DIR (your own) or --world routes"),
        (["--world", "maze"], "world 'maze' is unknown: "),
    ],
)
def test_a_flag_that_cannot_be_is_one_line_that_names_it(
    run: Run, settings: Path, tmp_path: Path, flags: list[str], message: str
):
    roads = [] if "--roads" in flags else ["--roads", "dpo,best-of-n"]
    answer = run("compare", "--config", settings, "--out", tmp_path / "run", *roads, *flags)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.error
    assert not (tmp_path / "run").exists(), "nothing is written for what cannot run"


def test_neither_data_nor_world(run: Run, tmp_path: Path):
    answer = run("compare", "--out", tmp_path / "run")
    assert answer.code == 2
    assert "give either --data FILE --model DIR (your own) or --world routes" in answer.error


def test_data_without_a_model(run: Run, tmp_path: Path, data: Path):
    answer = run("compare", "--data", data, "--out", tmp_path / "run")
    assert answer.code == 2
    assert answer.error.startswith("--data needs --model DIR, the base model")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jsonl", None, "absent.jsonl: no such file. Expected a file, one of .jsonl"),
        ("empty.jsonl", "", "empty.jsonl is empty: expected at least one row"),
        ("pairs.txt", "x", "pairs.txt: unknown format '.txt', expected one of .jsonl"),
        ("few.jsonl", '{"prompt": "the fox", "chosen": " runs", "rejected": " naps"}\n', "usable"),
    ],
)
def test_data_that_cannot_be_used(
    run: Run, tmp_path: Path, model: Path, name: str, content: str | None, message: str
):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    answer = run("compare", "--data", path, "--model", model, "--out", tmp_path / "run")
    assert answer.code == 2
    assert message in answer.error
    assert not (tmp_path / "run").exists()


def test_models_that_cannot_be_used(run: Run, tmp_path: Path, model: Path, data: Path):
    def refused(folder: Path) -> str:
        answer = run("compare", "--data", data, "--model", folder, "--out", tmp_path / "run")
        assert answer.code == 2
        return answer.error

    assert refused(tmp_path / "absent").endswith("config.json and weights; found no such folder")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(empty).endswith("config.json and weights; found no config.json in it")
    (empty / "config.json").write_text("{}")
    assert "not a causal language model: " in refused(empty)
    (empty / "config.json").write_text((model / "config.json").read_text())
    assert "not a causal language model: " in refused(empty)
    assert not (tmp_path / "run").exists()


def test_a_damaged_model_file_is_bad_input(run: Run, tmp_path: Path, model: Path, data: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    answer = run("compare", "--data", data, "--model", folder, "--out", tmp_path / "run")
    assert answer.code == 2


def test_a_model_without_a_tokenizer_is_said_to_lack_one(
    run: Run, tmp_path: Path, model: Path, data: Path
):
    folder = tmp_path / "silent"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("tokenizer*"))
    answer = run("compare", "--data", data, "--model", folder, "--out", tmp_path / "run")
    assert "tokenizer" in answer.error


def test_lengths_that_the_model_does_not_have(run: Run, tmp_path: Path, model: Path, data: Path):
    ask = ["compare", "--data", data, "--model", model, "--out", tmp_path / "run"]
    assert run(*ask, "--max-length", "65").error == (
        "--max-length 65: the model has only 64 positions"
    )
    answer = run(*ask, "--max-new-tokens", "60")
    assert answer.code == 2
    assert answer.error.startswith("--max-new-tokens 60: the longest prompt leaves room for 56; ")


def test_an_out_that_is_a_file(run: Run, tmp_path: Path, settings: Path):
    (tmp_path / "run").write_text("not a folder")
    answer = run("compare", "--config", settings, "--out", tmp_path / "run", "--roads", "sft")
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith(f"error: {tmp_path / 'run'}")


def test_rows_that_are_refused_by_flag(run: Run, tmp_path: Path, model: Path):
    rows = [{"prompt": "the fox", "chosen": " runs", "rejected": " naps"}, {"prompt": "the owl"}]
    path = write_rows(tmp_path / "pairs.jsonl", rows)
    ask = ["data", "audit", path, "--model", model, "--max-length", "64"]
    assert run(*ask).code == 0
    answer = run(*ask, "--on-bad-row", "raise")
    assert answer.code == 2
    assert "pairs.jsonl:2" in answer.error
    answer = run(*ask, "--over-long", "shorten")
    assert answer.code == 2
    assert "over_long must be drop, truncate or raise, got 'shorten'" in answer.error
    answer = run(*ask, "--on-bad-row", "ignore")
    assert answer.code == 2


def test_an_error_within_is_exit_code_one(
    run: Run, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(config: object) -> None:
        raise RuntimeError("the sky fell\nand more")

    monkeypatch.setattr("allroads.lab.compare.prepare", broken)
    answer = run("compare", "--config", settings, "--out", tmp_path / "run")
    assert answer.code == 1
    assert answer.error == ("RuntimeError: the sky fell (run again with --debug for the traceback)")
    monkeypatch.setattr(
        sys, "argv", ["allroads", "--debug", "compare", "--config", str(settings), "--out", "x"]
    )
    with pytest.raises(RuntimeError, match="the sky fell"):
        cli.main()


def test_training_that_cannot_go_on_is_exit_code_one(run: Run, tmp_path: Path):
    """A learning rate at which the loss stops being a number, found while it runs."""
    fields = tiny.fields(roads=["sft"])
    fields["recipe"]["sft"].update(learning_rate=1e30, gradient_clip=1e30, epochs=9)
    path = tmp_path / "hot.yaml"
    path.write_text(yaml.safe_dump(fields))
    answer = run("compare", "--config", path, "--out", tmp_path / "run")
    assert answer.code == 1
    line = next(one for one in answer.err.splitlines() if one.startswith("error:"))
    assert line.startswith("error: stage 'sft': the ")
    assert "lower the learning rate" in line
    assert "Traceback" not in answer.err


# What the commands do -----------------------------------------------------------------------------


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Run, settings: Path, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))
    answer = run("compare", "--config", settings, "--out", tmp_path / "run", "--dry-run")
    assert (answer.code, answer.err) == (0, "")
    assert sorted(tmp_path.rglob("*")) == before
    assert "39 jobs in 1 processes of 1 thread(s)" in answer.out
    assert "Estimated time: " in answer.out
    for stage in ("sft", "reward-model", "dpo-b0.5", "best-of-n", "evaluate"):
        assert any(line.startswith(stage) for line in answer.out.splitlines())


def test_flags_win_over_yaml(run: Run, settings: Path, tmp_path: Path):
    answer = run(
        "compare", "--config", settings, "--out", tmp_path / "run", "--dry-run",
        "--roads", "dpo, sft", "--seeds", "5,6", "--betas", "0.25,4", "--n", "4",
    )  # fmt: skip
    assert answer.code == 0
    assert "Roads  dpo, sft\n" in answer.out
    assert "Cells  2 seeds, beta 0.25/4, N 4; " in answer.out


def test_compare_report_and_repeat(run: Run, settings: Path, tmp_path: Path):
    folder = tmp_path / "run"
    ask = ["compare", "--config", settings, "--out", folder, "--roads", "sft,dpo,best-of-n"]
    first = run(*ask)
    assert first.code == 0
    assert "No verdict: one seed shows no difference" in first.out
    assert f"Report: {(folder / 'report.html').resolve()}" in first.out
    progress = [line for line in first.err.splitlines() if " done" in line]
    assert progress[-1].startswith(f"[{len(progress)}/{len(progress)}] ")
    # What the report says to run again is what was run.
    command = json.loads((folder / "manifest.json").read_text())["command"]
    assert command == f"allroads {' '.join(map(str, ask))}"
    again = run(*ask)
    assert again.code == 0
    assert [line.split()[-1] for line in again.out.splitlines() if line.startswith("dpo")] == [
        "done"
    ]
    table = first.out[first.out.index("true reward") :]
    assert again.out[again.out.index("true reward") :] == table
    report = run("report", folder)
    assert (report.code, report.err) == (0, "")
    assert report.out.strip() == table.strip()


def test_columns_of_the_printed_results_never_touch(
    run: Run, settings: Path, straight: Straight, tmp_path: Path
):
    """The longest name of all, with its setting, before a number."""
    shutil.copytree(straight.folder, tmp_path / "run")
    answer = run("compare", "--config", settings, "--out", tmp_path / "run")
    assert max(map(len, tiny.ROADS)) == len("online-dpo-batch-from-dpo")
    table = answer.out[answer.out.index("true reward") :].splitlines()
    (line,) = [one for one in table if one.startswith("  online-dpo-batch-from-dpo ")]
    name, knob, value, reward = line.split()[:4]
    assert (name, knob, value) == ("online-dpo-batch-from-dpo", "beta", "0.5")
    assert 0 <= float(reward) <= 1
    assert "-0.00" not in answer.out


def test_report_of_what_is_no_run(run: Run, tmp_path: Path):
    answer = run("report", tmp_path)
    assert answer.code == 2
    assert answer.error == f"{tmp_path} is no run folder: it has no manifest.json"
    assert run("report", tmp_path / "absent").code == 2
    assert not (tmp_path / "absent").exists()


def test_report_of_what_is_not_finished(
    run: Run, settings: Path, straight: Straight, tmp_path: Path
):
    folder = tmp_path / "run"
    shutil.copytree(straight.folder, folder)
    assert run("compare", "--config", settings, "--out", folder).code == 0
    lost = next(folder.glob("evaluations/evaluate-sft-s0-*"))
    lost.unlink()
    answer = run("report", folder)
    assert answer.code == 2
    assert f"1 of 39 jobs are not finished (first: {lost.stem})" in answer.error
    assert f"--out {folder}" in answer.error, "says how to go on"


def test_train_says_where_the_checkpoint_lies(run: Run, settings: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ask = ["train", "dpo", "--config", settings, "--out", tmp_path / "run"]
    answer = run(*ask)
    assert answer.code == 2
    assert answer.error == "road 'dpo' needs --beta, the price of a nat of KL in reward units"
    # A price that the configuration does not name.
    answer = run(*ask, "--beta", "0.3", "--seed", "3")
    assert answer.code == 0
    *report, last = answer.out.strip().splitlines()
    folder = last.removeprefix("Checkpoint: ")
    assert "dpo-b0.3-s3-" in folder
    assert "\n".join(report).strip() == (tmp_path / "run" / "training.md").read_text().strip()
    assert [line for line in report if line.startswith("#")] == ["# dpo", "## sft", "## dpo"]
    # The first loss of DPO, and its meaning beside it.
    assert any(line.startswith("| loss | 0.69") and "objective" in line for line in report)
    AutoModelForCausalLM.from_pretrained(folder)
    assert len(AutoTokenizer.from_pretrained(folder)) == 17
    fields = yaml.safe_load(settings.read_text())
    fields["recipe"]["policy"]["learning_rate"] = 1e30
    (tmp_path / "wild.yaml").write_text(yaml.safe_dump(fields))
    wild = ["train", "dpo", "--config", tmp_path / "wild.yaml", "--beta", "0.3", "--seed", "3"]
    answer = run(*wild, "--out", tmp_path / "run")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("error: road 'dpo' could not be trained; ")
    assert "lower the learning rate" in (tmp_path / "run" / "training.md").read_text()
    answer = run("train", "best-of-n", "--config", settings, "--out", tmp_path / "other")
    assert answer.code == 2
    assert "trains no model of its own; train 'reward-model'" in answer.error
    answer = run("train", "dop", "--config", settings, "--out", tmp_path / "other")
    assert answer.error == "road 'dop' is unknown: did you mean 'dpo'?"
    assert not (tmp_path / "other").exists()


def test_roads(run: Run):
    answer = run("roads")
    assert (answer.code, answer.err) == (0, "")
    heads = [line.split(":")[0] for line in answer.out.splitlines() if not line.startswith(" ")]
    table, beside = list(atlas()), list(all_controls())
    assert heads[: len(table)] == table
    assert heads[len(table)].startswith("Controls, each one field away")
    assert heads[len(table) + 1 : -1] == beside
    assert "for as many updates (online-dpo but for last.source)" in answer.out
    assert "example rloo@verifier or online-dpo@judge. Labellers: reward-model, local" in answer.out
    assert "self x2 (update) / reward-model / two / bradley-terry on implicit" in answer.out
    shorter = run("roads", "--start", "sft-chosen").out
    assert "sft:" not in [line.split()[0] for line in shorter.splitlines()]
    assert run("roads", "--start", "sft-chose").error == (
        "start 'sft-chose' is unknown: did you mean 'sft-chosen'?"
    )


def test_roads_differ_in_the_fields_that_they_differ_in(run: Run):
    answer = run("roads", "--diff", "dpo,local-rm")
    assert answer.code == 0
    assert answer.out.splitlines()[0].split() == ["field", "dpo", "local-rm"]
    rows = [line.split()[0] for line in answer.out.splitlines()[1:-1]]
    assert rows == ["last.schedule.epochs"], "DPO is the local reward model but for its schedule"
    assert answer.out.splitlines()[-1] == "one field: last.schedule.epochs"
    several = run("roads", "--diff", "dpo,online-dpo").out.splitlines()[-1]
    assert several == "more than one field"
    relabelled = run("roads", "--diff", "dpo,dpo-relabelled").out.splitlines()[-1]
    assert relabelled == "one field: last.labeller (entails last.pick, reward-model)"
    assert run("roads", "--diff", "dpo, dpo").out.splitlines()[-1] == "no difference"
    assert run("roads", "--diff", "dpo").error == (
        "--diff takes two names, comma-separated, got 'dpo'"
    )
    assert run("roads", "--diff", "online-dpo-verifier,online-dpo@verifier").out.splitlines()[
        -1
    ] == ("no difference")
    assert run("roads", "--diff", "dpo,rlo").error == "road 'rlo' is unknown: did you mean 'rloo'?"


def test_doctor(run: Run, monkeypatch: pytest.MonkeyPatch):
    answer = run("doctor")
    assert (answer.code, answer.err) == (0, "")
    assert "expected log 2 = 0.693147: right" in answer.out
    # A library that is not well is said to be so, and the exit code says it too.
    monkeypatch.setattr(
        "allroads.lab.doctor.bradley_terry_nll", lambda better, worse: better - worse + 0.5
    )
    answer = run("doctor")
    assert answer.code == 1
    assert "WRONG" in answer.out


def test_data_audit(run: Run, tmp_path: Path, model: Path, data: Path):
    before = sorted(tmp_path.rglob("*"))
    answer = run("data", "audit", data, "--model", model, "--max-length", "64")
    assert (answer.code, answer.err) == (0, "")
    assert any("300" in line for line in answer.out.splitlines())
    assert sorted(tmp_path.rglob("*")) == before
    assert run("data", "audit", tmp_path / "absent.csv", "--model", model).code == 2
    answer = run("data", "audit", data, "--model", tmp_path)
    assert answer.code == 2
    assert "no tokenizer can be loaded" in answer.error


def test_export_writes_a_folder_or_says_why_not(run: Run, straight: Straight, tmp_path: Path):
    folder, out = shutil.copytree(straight.folder, tmp_path / "run"), tmp_path / "out"
    answer = run("export", folder, "dpo", "--out", out)
    assert (answer.code, answer.out, answer.err) == (0, f"Exported: {out.resolve()}\n", "")
    assert {"README.md", "model.safetensors", "generation_config.json"} <= {
        path.name for path in out.iterdir()
    }
    again = run("export", folder, "dpo", "--out", out)
    assert again.code == 2
    assert again.error == f"--out {out}: expected a new or an empty folder; it holds files"
    nowhere = run("export", tmp_path / "absent", "dpo", "--out", tmp_path / "other")
    assert nowhere.code == 2
    assert nowhere.error.endswith("is no run folder: it has no manifest.json")


def test_a_tracker_without_its_package_is_said_before_anything_is_trained(
    run: Run, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ask = ["compare", "--config", settings, "--out", tmp_path / "run", "--track"]
    answer = run(*ask, "wandb")
    assert answer.code == 2
    assert answer.error == ("--track wandb needs the package wandb: pip install 'allroads[track]'")
    assert not (tmp_path / "run").exists()
    unknown = run(*ask, "tensorbord")
    assert unknown.code == 2
    assert "track.0: Input should be 'wandb', 'tensorboard' or 'trackio'" in unknown.error


# The exact lab ------------------------------------------------------------------------------------


def test_exact_prints_every_claim_without_torch_in_seconds():
    """In a process of its own: this one has imported everything."""
    program = (
        "import sys; sys.argv = ['allroads', 'exact']\n"
        "import allroads.cli\n"
        "try: allroads.cli.main()\n"
        "except SystemExit as left: assert not left.code, left.code\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "[1/10] unified" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("10 claims: ")


def test_exact_shows_one_claim_and_writes_its_page(run: Run, tmp_path: Path):
    page = tmp_path / "spin.html"
    answer = run("exact", "--claim", "spin", "--html", page)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1] == f"Page: {page.resolve()}"
    assert "isomorphism" not in answer.out
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text
    assert f"allroads exact --claim spin --html {page}" in text


def test_exact_names_the_nearest_claim(run: Run):
    answer = run("exact", "--claim", "best-of-m")
    assert answer.code == 2
    assert answer.error == "--claim 'best-of-m' is unknown: did you mean 'best-of-n'?"


def test_exact_fails_where_a_claim_does(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("allroads.exact.claims.projection.SLIP", 0.0)
    answer = run("exact", "--claim", "projection")
    assert answer.code == 1
    assert answer.out.splitlines()[-1] == (
        "1 of 7 checks are not as expected: projection: dynamics that are not a tree"
    )
