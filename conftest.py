"""How pytest takes the notebooks: `pytest --nbval notebooks` works as it stands, on any machine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from nbval.plugin import IPyNbFile

from tools.notebooks import environment, ignored_share, read


def pytest_configure(config: pytest.Config) -> None:
    if not config.option.nbval_kernel_name:
        config.option.nbval_current_env = True  # this Python, whatever a kernel named python3 means on this machine


class Notebook(IPyNbFile):
    """A notebook whose kernel runs in the environment that stored its outputs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.skip_compare += ("stderr",)  # progress bars and warnings, which hold times and paths
        self.open = contextlib.ExitStack()

    def setup(self) -> None:
        with pytest.MonkeyPatch.context() as patch:  # other tests of this process keep their environment
            for name, value in self.open.enter_context(environment()).items():
                patch.setenv(name, value)
            super().setup()

    def teardown(self) -> None:
        super().teardown()
        self.open.close()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Iterator[None]:
    """Exercise editions have no outputs to compare; tests/ runs them in another way."""
    collectors = yield
    notebook = any(isinstance(each, IPyNbFile) for each in collectors)
    if not notebook:
        return collectors
    return [] if file_path.parent.name == "exercises" else [Notebook.from_parent(parent, path=file_path)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how much of each notebook is run but not compared."""
    reports = [report for group in terminalreporter.stats.values() for report in group if hasattr(report, "nodeid")]
    names = sorted({report.nodeid.split("::")[0] for report in reports if ".ipynb::" in report.nodeid})
    if names:
        terminalreporter.section("outputs that are not compared (tag nbval-ignore-output)")
    for name in names:
        ignored, shown = ignored_share(read(config.rootpath / name))
        terminalreporter.write_line(f"{name}: {ignored} of {shown} ({ignored / max(shown, 1):.0%})")
