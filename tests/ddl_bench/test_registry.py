"""Names: never replaced in silence, and a broken package breaks itself alone."""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ddl_bench import registry
from ddl_bench.errors import UserError
from ddl_bench.plan.identity import code_identity

METHOD = """
class {cls}:
    name = "{name}"

    def start(self, task, budget):
        raise NotImplementedError
"""


def plugin_file(folder: Path, *names: str, more: str = "") -> Path:
    path = folder / "plugin.py"
    texts = [METHOD.format(cls=f"Method{index}", name=name) for index, name in enumerate(names)]
    path.write_text("\n".join([*texts, more]))
    return path


def test_a_plugin_cannot_take_the_name_of_a_method(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, "sdl")
    with pytest.raises(UserError, match="the name 'sdl' is taken by another method"):
        registry.methods([path])


@pytest.mark.parametrize("name", ["baselines.py", "reports/__init__.py"])
def test_a_neighbour_of_a_plugin_cannot_replace_a_package_of_ours(
    tmp_path: Path, name: str
) -> None:
    neighbour = tmp_path / name
    neighbour.parent.mkdir(exist_ok=True)
    neighbour.write_text("def scale():\n    return 2.0\n")
    package = name.split(".")[0].split("/")[0]
    with pytest.raises(UserError, match=f"in place of the package {package} of ddl-bench"):
        registry.methods([plugin_file(tmp_path, "mine")])


def test_a_folder_of_reports_beside_a_plugin_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    path = plugin_file(tmp_path, "mine", more="import reports.tables")
    assert "mine" in registry.methods([path])


def test_a_plugin_cannot_take_the_name_of_a_data_set(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, more="DATASETS = {'digits': print}")
    with pytest.raises(UserError, match="the name 'digits' is taken by another data set"):
        registry.datasets([path])


def test_two_methods_of_one_name_in_a_file_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two methods have the name 'mine'"):
        registry.methods([plugin_file(tmp_path, "mine", "mine")])


def test_two_plugins_cannot_share_a_name(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    paths = [plugin_file(folder, "mine") for folder in folders]
    with pytest.raises(UserError, match=re.escape(f"{paths[1]}: the name 'mine' is taken")):
        registry.methods(paths)


@pytest.mark.parametrize("name", ["a,b", "m[x=1]", "", "two words"])
def test_a_name_that_no_command_line_could_give_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"the name {name!r} cannot be used")):
        registry.methods([plugin_file(tmp_path, name)])


def test_a_plugin_that_ends_the_process_is_one_clear_line(tmp_path: Path) -> None:
    path = plugin_file(tmp_path, more="import sys\n\nsys.exit(0)")
    with pytest.raises(UserError, match=r"plugin.py, line \d+: SystemExit: 0"):
        registry.methods([path])


MAKER = """
from ddl_bench import from_function

def shifted(name, shift):
    def fit(X, y):
        return lambda test: test[:, :3] + shift

    return from_function(name, fit)
"""


def test_a_method_that_another_file_of_the_plugin_makes_belongs_to_the_plugin(
    tmp_path: Path,
) -> None:
    identities = []
    for shift in (1, 2):
        folder = tmp_path / str(shift)
        folder.mkdir()
        (folder / "maker.py").write_text(MAKER)
        path = folder / "plugin.py"
        path.write_text(f"import maker\n\nMade = maker.shifted('made', {shift})\n")
        (name, made), *others = registry.methods_in(path).items()
        assert (name, others) == ("made", [])
        identities.append(code_identity(made))
    assert identities[0] != identities[1]


def test_a_method_that_a_plugin_imports_is_not_its_own(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text("from baselines.methods.nearest_mean import NearestMean as Mine\n")
    assert registry.methods_in(path) == {}


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with entry points on the path, as if it were installed."""

    def package(name: str, code: str, **groups: str) -> None:
        (tmp_path / f"{name}_module.py").write_text(code)
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        parts = [f"[ddl_bench.{group}]\n{line}\n" for group, line in groups.items()]
        (metadata / "entry_points.txt").write_text("\n".join(parts))
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_package_cannot_take_a_name_of_ours(install: Install) -> None:
    install(
        "stranger",
        METHOD.format(cls="Theirs", name="sdl"),
        methods="sdl = stranger_module:Theirs\ntheirs = stranger_module:Theirs",
        datasets="digits = stranger_module:Theirs",
    )
    with pytest.warns(registry.NameTaken, match="stranger offers 'sdl', a name of ddl-bench"):
        assert registry.load_method("sdl").__module__ == "baselines.methods.sdl"
    with pytest.warns(registry.NameTaken, match="stranger offers 'digits', a name of ddl-bench"):
        known = registry.datasets()["digits"]
    assert isinstance(known, registry.Installed)
    assert known.load().__module__ == "ddl_bench.data.digits"


def test_a_broken_package_breaks_itself_alone(install: Install) -> None:
    lines = {"methods": "boom = broken_module:Boom", "datasets": "bang = broken_module:bang"}
    install("broken", "raise RuntimeError('no such luck')", **lines)
    assert registry.load_method("logistic").name == "logistic"
    assert "digits" in registry.datasets()
    with pytest.raises(registry.BrokenPackage, match=r"broken: broken_module:Boom .* no such luck"):
        registry.load_method("boom")
    with pytest.raises(UserError, match=r"the data set 'bang' is broken: .*no such luck"):
        registry.datasets()["bang"](Path(), False)


def test_a_package_without_a_usable_metric_loses_that_alone(install: Install) -> None:
    code = "from ddl_bench.api import Metric\ngood = Metric(len)\n"
    offered = {"zero": "good", "plain": "Metric.meaning.fget", "a-b": "good", "seed": "good"}
    lines = [f"{name} = measures_module:{thing}" for name, thing in offered.items()]
    install("measures", code, metrics="\n".join(lines))
    with pytest.warns(registry.LeftOut) as caught:
        known = registry.metrics([], {"seed"})
    assert known.keys() == {"zero"}
    assert sorted(str(each.message) for each in caught) == [
        "the metric 'a-b' is left out: measures: 'a-b' is no name of a column",
        "the metric 'plain' is left out: measures: it is a function; expected Metric",
        "the metric 'seed' is left out: measures: a column of ours has this name",
    ]


def test_a_plugin_cannot_take_the_name_of_an_installed_report(
    install: Install, tmp_path: Path
) -> None:
    install("tables", "def write(rows, folder): ...", writers="ours = tables_module:write")
    path = plugin_file(tmp_path, more="REPORTS = {'ours': print}")
    with pytest.raises(UserError, match="the name 'ours' is taken by another report"):
        registry.writers([path])


def test_a_package_that_ends_the_process_or_prints_is_named(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("ending", "import os\nprint('hi')\nos._exit(0)", methods="ends = ending_module:Ends")
    with pytest.raises(registry.BrokenPackage, match=r"ending: ending_module:Ends .*os\._exit"):
        registry.load_method("ends")
    assert capsys.readouterr().out == ""


def test_the_face_of_the_package_imports_nothing_before_it_is_used() -> None:
    seen = "sorted({'torch', 'numpy'} & {*sys.modules})"
    code = f"import sys, ddl_bench; ddl_bench.__version__; print({seen})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("statement", ["os._exit(0)", "sys.exit(0)", "raise SystemExit"])
def test_a_plugin_that_exits_at_its_import_is_named(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "exits.py"
    path.write_text(f"import os\nimport sys\n{statement}\n")
    leave = os._exit
    with pytest.raises(UserError, match=r"exits\.py, line 3: SystemExit"):
        registry.plugin(path)
    assert os._exit is leave


def test_prints_of_an_import_do_not_reach_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prints.py"
    path.write_text("print('hello')\n")
    registry.plugin(path)
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == "hello\n"
