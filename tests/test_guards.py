"""The guards themselves: each complains of a notebook with its fault, and not of the same notebook without it."""
import ast
import base64
import copy
import math
import os
import sys
import types

import bites
import guards
import jaxtyping
import matplotlib
import mutants
import pytest
import torch
from guards import Chapter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from test_mutants import everything_in_gptcore

import gptcore.training
from gptcore.course import check, exercises
from tools import notebooks, stamps

TITLE = "badges\n\n# 01 · A toy\n\nOne promise.\n\nTime: about 1 minute of computing on two CPU cores."
WRONG = "## What could go wrong?\n\nThis."
SETUP = stamps.setup_cell("https://github.com/ada/gptcore")

BUILD = """\
import math

import torch


def attention_weights_by_hand(q, k):
    B, H, T, D = q.shape
    S = k.shape[2]
    weights = torch.zeros(B, H, T, S, dtype=q.dtype)
    for t in range(T):
        up_to = S - T + t + 1
        scores = (q[:, :, t, None] * k[:, :, :up_to]).sum(dim=3) / math.sqrt(D)
        weights[:, :, t, :up_to] = scores.softmax(dim=2)
    return weights"""
CASES = """\
generator = torch.Generator().manual_seed(0)
heads = {name: tuple(torch.randn(2, 3, T, 5, generator=generator, dtype=torch.float64) for T in sizes)
         for name, sizes in {"four tokens": (4, 4), "two of six": (2, 6)}.items()}"""
PARITY = """\
from gptcore.attention import attention_weights

check.same(attention_weights_by_hand, attention_weights, heads)"""
WEIGHTS = "gptcore.attention.attention_weights"
FROM_THE_FRONT = {  # tensors of heads have four dimensions, so that -2 and 2 are the same one
    "attention.attention_weights: k.transpose(-2, -1) -> k.transpose(2, -1)": "dimension -2 of four is dimension 2",
    "attention.attention_weights: q.size(-2) -> q.size(2)": "dimension -2 of four is dimension 2",
    "attention.attention_weights: k.size(-2) -> k.size(2)": "dimension -2 of four is dimension 2",
}

EXERCISE = "def surprisal(p):\n    return -math.log2(p)"
CHECK = 'check.exercise("surprisal", surprisal)'
EXERCISES = {"surprisal": exercises.EXERCISES["surprisal"]}


def code(source, *tags, outputs=()):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {}, outputs=list(outputs))


def chapter(*cells, name="01_toy"):
    """A notebook with a title, a setup cell, these cells and its last section; executed, as far as one can see."""
    cells = [new_markdown_cell(TITLE), code(SETUP, "setup"), *map(copy.deepcopy, cells), new_markdown_cell(WRONG)]
    for number, cell in enumerate(cells):
        cell.id = str(number)  # no copy keeps the id of its twin
    executed = [cell for cell in cells if cell.cell_type == "code"]
    for count, cell in enumerate(executed, start=1):
        cell.execution_count = count
    return Chapter(name, notebooks.normalise(new_notebook(cells=cells)))


def toy(build=BUILD, cases=CASES, parity=PARITY, exercise=EXERCISE, checked=CHECK):
    return chapter(code(build, f"builds:{WEIGHTS}"), code(cases, "cases"), code(parity, f"parity:{WEIGHTS}"),
                   code(exercise, "exercise:surprisal"), code(checked, "check:surprisal"))


def parity(notebook, equivalent=FROM_THE_FRONT, not_built=()):
    return bites.parity_bites(notebook, equivalent, not_built).complaints


def said(complaints, *words):
    """One complaint at least, and each of these words in one."""
    assert complaints
    for word in words:
        assert any(word in complaint for complaint in complaints), (word, complaints)


class TestParity:
    def test_the_healthy_toy(self, capsys):
        assert parity(toy()) == []
        assert "mutants tried, 3 not noticed" in capsys.readouterr().out

    def test_a_gutted_check(self, monkeypatch):
        monkeypatch.setattr(check, "same", lambda *args, **kwargs: None)
        said(parity(toy()), "`same: ...`", "/ math.sqrt(q.size(-1)) -> ")
        monkeypatch.setattr(check, "same", lambda *args, **kwargs: print("same: all of it"))
        said(parity(toy()), "/ math.sqrt(q.size(-1)) -> ")

    def test_attention_without_its_scale_and_a_case_of_one_token(self):
        no_scale = BUILD.replace(" / math.sqrt(D)", "")
        assert no_scale != BUILD
        assert "Refused" in parity(toy(build=no_scale))[0]
        one_token = CASES.replace("(4, 4)", "(1, 1)").replace("(2, 6)", "(1, 1)")
        said(parity(toy(build=no_scale, cases=one_token)), "/ math.sqrt(q.size(-1)) -> ", "q.size(-1) -> q.size(1)")

    def test_square_cases_hide_a_transposition(self):
        square = CASES.replace('(4, 4), "two of six": (2, 6)', '(1, 5), "two of six": (1, 5)')
        assert parity(toy(cases=square)) != []

    def test_a_model_of_order_zero(self):
        build = code("""\
class NGramByHand:
    def __init__(self, order, vocab_size):
        self.vocab_size = vocab_size

    def fit(self, documents):
        return self

    def probabilities(self, context):
        return [1 / self.vocab_size] * self.vocab_size""", "builds:gptcore.ngram.NGram:probabilities")
        cell = code("from gptcore.ngram import NGram\n\ncheck.same(NGramByHand, NGram, {'uniform': lambda NGram: "
                    "NGram(0, 4).fit([[0, 1]]).probabilities([])})", "parity:gptcore.ngram.NGram")
        said(parity(chapter(build, cell)), "followers[token] + len(followers) * p", "token_nats: emptied")

    def test_a_comparison_with_itself(self):
        for both in ("attention_weights, attention_weights", "attention_weights_by_hand, attention_weights_by_hand"):
            assert parity(toy(parity=PARITY.replace("attention_weights_by_hand, attention_weights", both)))

    def test_a_cell_without_check_same(self):
        by_eye = PARITY.split("check")[0] + "assert attention_weights_by_hand\nprint('same: by eye')"
        said(parity(toy(parity=by_eye)), "calls check.same or check.same_module")

    def test_what_is_not_written_yet(self):
        edition = notebooks.exercise_edition(toy().notebook, "01_toy")
        said(parity(Chapter("01_toy", edition)), "not done yet")

    def test_a_tag_that_names_nothing(self):
        for name in ("gptcore.attention.weights", "gptcore.nowhere.f"):
            wrong = chapter(code(BUILD, f"builds:{WEIGHTS}"), code(CASES, "cases"), code(PARITY, f"parity:{name}"))
            said(parity(wrong), f"parity:{name} names nothing")

    def test_two_tags_need_two_lines(self):
        both = chapter(code(BUILD, f"builds:{WEIGHTS}"), code(CASES, "cases"),
                       code(PARITY, f"parity:{WEIGHTS}", "parity:gptcore.attention.causal_mask"))
        said(parity(both), "one line `same: ...` for each of its parity tags")

    def test_a_cell_that_leans_on_an_untagged_one(self):
        untagged = chapter(code(BUILD, f"builds:{WEIGHTS}"), code(CASES), code(PARITY, f"parity:{WEIGHTS}"))
        said(parity(untagged), "cell 5: NameError", "tagged setup")

    def test_imports_of_untagged_cells_count(self):
        head, body = BUILD.split("\n\n\n")
        spread = chapter(code(head + "\n\n1 / 0"), code(body, f"builds:{WEIGHTS}"), code(CASES, "cases"),
                         code(PARITY, f"parity:{WEIGHTS}"))
        assert parity(spread) == []

    def test_a_mutant_that_never_ends_is_noticed(self, monkeypatch):
        slow = code("def replay_by_hand(chunk, joined):\n    return list(chunk)", "builds:gptcore.bpe.replay_merges")
        cell = code("from gptcore.bpe import replay_merges\n\n"
                    "check.same(replay_by_hand, replay_merges, {'nothing to join': (b'abc', {})})",
                    "parity:gptcore.bpe.replay_merges")
        endless = mutants.Mutant("endless", "gptcore.bpe", tuple(ast.parse(
            "def replay_merges(chunk, joined):\n    while True:\n        pass").body))
        monkeypatch.setattr(bites, "mutants", lambda target, skip: [endless])
        monkeypatch.setattr(bites, "MUTANT_SECONDS", 0.2)
        assert parity(chapter(slow, cell)) == []

    def test_it_leaves_everything_as_it_was(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = everything_in_gptcore(), list(sys.path), dict(os.environ), os.getcwd(), matplotlib.get_backend()
        drawn = torch.random.get_rng_state()
        parity(toy())
        bites.exercises_bite(toy(), EXERCISES)
        assert before == (everything_in_gptcore(), list(sys.path), dict(os.environ), os.getcwd(), matplotlib.get_backend())
        assert torch.equal(drawn, torch.random.get_rng_state()) and not jaxtyping.config.jaxtyping_disable

    def test_entries_that_are_not_needed(self):
        results = [bites.parity_bites(toy(), FROM_THE_FRONT, ())]
        assert bites.excuses_hold(results, FROM_THE_FRONT, ["gptcore.tokenizer.Tokenizer.save"]) == []
        noticed = "attention.attention_weights: q.size(-1) -> q.size(1)"
        said(bites.excuses_hold(results, FROM_THE_FRONT | {"attention.nothing: 1 -> 2": "", noticed: ""},
                                ["gptcore.tokenizer.Tokenizer.sav", "gptcore.nowhere.f"]),
             "'attention.nothing: 1 -> 2': no parity cell meets", "it is noticed after all", "Tokenizer.sav'", "nowhere")
        broken = bites.parity_bites(chapter(code("1 / 0", "cases")))
        assert "ZeroDivisionError" in broken.complaints[0]
        assert bites.excuses_hold([broken], {"nobody knows": "what was not tried"}, []) == []


class TestExercises:
    def test_the_healthy_toy(self):
        assert bites.exercises_bite(toy(), EXERCISES) == []
        assert bites.exercises_asked([toy()], EXERCISES) == []

    def test_a_check_that_never_refuses(self, monkeypatch):
        monkeypatch.setattr(check, "exercise", lambda name, answer: print(f"right: {name}"))
        said(bites.exercises_bite(toy(), EXERCISES), "a wrong answer to 'surprisal' passes", "with nothing written")

    def test_a_check_that_says_nothing(self):
        silent = "if surprisal(0.5) == 2:\n    " + CHECK
        said(bites.exercises_bite(toy(checked=silent), EXERCISES), "must give `right: surprisal`", "with nothing written")

    def test_a_check_of_something_else(self):
        for source in (CHECK.replace(", surprisal", ", lambda p: -math.log2(p)"), CHECK + "\n" + CHECK, "pass"):
            said(bites.exercises_bite(toy(checked=source), EXERCISES), "once, where `answer` is a name")

    def test_a_wrong_answer_that_passes(self, monkeypatch):
        task = EXERCISES["surprisal"]
        weak = exercises.Exercise({"certain": ((1.0,), 0.0)}, task.wrong)
        monkeypatch.setitem(check.EXERCISES, "surprisal", weak)
        said(bites.exercises_bite(toy(), {"surprisal": weak}), "Those are nats")

    def test_a_hint_of_another_mistake(self, monkeypatch):
        task = EXERCISES["surprisal"]
        twins = exercises.Exercise(task.cases, {"one hint": lambda p: 1.0 - p, "same mistake": lambda p: 1.0 - p})
        monkeypatch.setitem(check.EXERCISES, "surprisal", twins)
        complaints = bites.exercises_bite(toy(), {"surprisal": twins})
        assert len(complaints) == 1 and "'same mistake'" in complaints[0]

    def test_a_single_wrong_answer(self, monkeypatch):
        task = EXERCISES["surprisal"]
        few = exercises.Exercise(task.cases, dict([*task.wrong.items()][:1]))
        monkeypatch.setitem(check.EXERCISES, "surprisal", few)
        assert "has 1 wrong answers" in bites.exercises_bite(toy(), {"surprisal": few})[0]

    def test_an_answer_that_is_wrong_or_missing(self):
        for source in (EXERCISE.replace("-math", "math"), "def surprisal(p):\n    ..."):
            said(bites.exercises_bite(toy(exercise=source), EXERCISES), "must give `right: surprisal`")

    def test_tags_that_have_no_partner(self):
        said(bites.exercises_bite(chapter(code(EXERCISE, "exercise:surprisal")), EXERCISES), "'surprisal' is not checked")
        said(bites.exercises_bite(chapter(code("import math\n" + EXERCISE), code(CHECK, "check:surprisal")), EXERCISES),
             "has no exercise")
        said(bites.exercises_bite(toy(), {}), "gptcore/course/exercises.py has no 'surprisal'")

    def test_a_cell_that_does_not_run(self):
        said(bites.exercises_bite(chapter(code("1 / 0", "cases")), EXERCISES), "cell 3: ZeroDivisionError")

    def test_entries_without_a_notebook_and_names_used_twice(self):
        said(bites.exercises_asked([chapter()], EXERCISES), "'surprisal' is in no notebook")
        twice = chapter(*[code(EXERCISE, "exercise:surprisal"), code(CHECK, "check:surprisal")] * 2)
        said(bites.exercises_asked([twice], EXERCISES), "check:surprisal stands in 2 places")


class TestEverythingIsChecked:
    NAMES = (WEIGHTS, "gptcore.attention.causal_mask", "gptcore.batches.IGNORE")
    REASONS = types.MappingProxyType({"gptcore.attention.causal_mask": "chapter 04", "gptcore.batches.IGNORE": "a constant"})

    def test_the_healthy_toy(self):
        assert guards.everything_checked([toy()], self.NAMES, self.REASONS) == []

    def test_a_new_public_name(self):
        said(guards.everything_checked([toy()], (*self.NAMES, "gptcore.gpt.New"), self.REASONS), "gptcore.gpt.New is public")

    def test_a_promise_that_is_due(self):
        said(guards.everything_checked([toy(), chapter(name="04_attention")], self.NAMES, self.REASONS), "chapter 04 exists")

    def test_entries_that_are_not_needed(self):
        reasons = {**self.REASONS, WEIGHTS: "chapter 04", "gptcore.gpt.Gone": "a constant"}
        said(guards.everything_checked([toy()], self.NAMES, reasons),
             f"{WEIGHTS}: a parity cell checks it", "Gone: there is no")

    def test_built_and_checked_belong_together(self):
        build, cell = code(BUILD, f"builds:{WEIGHTS}"), code(PARITY, f"parity:{WEIGHTS}")
        for cells, words in [([build], "which no cell holds to gptcore"), ([cell], "no cell above builds"),
                             ([cell, build], "no cell above builds")]:
            said(guards.everything_checked([chapter(*cells)], [], {}), words)

    def test_what_is_public_today(self):
        names = guards.public()
        assert names["gptcore.schedule.learning_rate"] is gptcore.training.learning_rate
        assert "gptcore.training.learning_rate" not in names and "gptcore.batches.IGNORE" in names
        known = {thing for thing in names if not guards.exists(thing)}
        assert not known


EARLY = [
    "from gptcore.ngram import NGram", "from gptcore.ngram import NGram as counting", "from gptcore.ladder import NGram",
    "from gptcore import ngram\nngram.NGram(1, 2)", "import gptcore.ngram as n\nmodel = n.NGram(1, 2)",
    "import gptcore.ngram\nprint(gptcore.ngram.NGram)", "import gptcore\nx = gptcore.ladder.NGram",
    "def f():\n    from gptcore.ngram import NGram", "from gptcore import ladder\nladder.NGram.fit",
    "from gptcore.ngram import *", "import importlib", "from importlib import import_module",
    "__import__('gptcore.ngram')", "import sys\nsys.modules['gptcore.ngram']", "exec('import gptcore')",
    "from gptcore import ngram\ngetattr(ngram, 'NGram')", "from gptcore import ngram\nvars(ngram)['NGram']",
    "from gptcore import ngram\nngram.__dict__['NGram']", "import gptcore\ng = gptcore",
    "from gptcore import ngram as m\nk = m",
]
ALLOWED = [
    "from gptcore.ladder import floor, ladder", "from gptcore import playhouse, corpora, plots\nplots.canvas",
    "from gptcore.course import check, dial\nprint(dial.setting())", "from gptcore.evaluation import Score",
    "from gptcore.tokenizer import encode_document", "import gptcore\nprint(gptcore.__version__)", "ngram = 1\nprint(ngram)",
    "import math\nmath.NGram", "from gptcore import ngram\nprint(ngram.__name__)", "from gptcore.ladder import missing",
]


class TestNothingIsUsedEarly:
    BUILD = code("class NGramByHand:\n    pass", "builds:gptcore.ngram.NGram:fit")

    @pytest.mark.parametrize("source", EARLY)
    def test_before_it_is_built(self, source):
        early = chapter(code(source), self.BUILD)
        said(guards.nothing_used_early(early, [early]), "cell 3, line")

    @pytest.mark.parametrize("source", ALLOWED)
    def test_what_is_free(self, source):
        free = chapter(code(source), self.BUILD)
        assert guards.nothing_used_early(free, [free]) == []

    @pytest.mark.parametrize("source", EARLY[:9])
    def test_afterwards_it_is_free(self, source):
        after = chapter(self.BUILD, code(source))
        assert guards.nothing_used_early(after, [after]) == []
        later = chapter(code(source), name="02_later")
        assert guards.nothing_used_early(later, [after, later]) == []
        said(guards.nothing_used_early(later, [later]), "NGram")

    def test_in_the_cell_that_builds_it(self):
        at_once = chapter(code("from gptcore.ngram import NGram\n\n\nclass NGramByHand(NGram):\n    pass",
                               "builds:gptcore.ngram.NGram:fit"))
        said(guards.nothing_used_early(at_once, [at_once]), "NGram")

    def test_what_another_chapter_promises_to_build(self):
        promise = {"gptcore.attention.KeyValueCache": "chapter 05"}
        for number, early in (("04", True), ("05", True), ("06", False)):
            using = chapter(code("from gptcore.attention import KeyValueCache"), name=f"{number}_x")
            assert bool(guards.nothing_used_early(using, [using], unchecked=promise)) == early

    def test_a_module_is_followed_from_cell_to_cell(self):
        apart = chapter(code("from gptcore import ngram"), code("ngram.NGram"))
        said(guards.nothing_used_early(apart, [apart]), "cell 4, line 1: `ngram.NGram`")


class TestForm:
    def test_the_healthy_toy(self):
        assert guards.form(toy()) == []

    @pytest.mark.parametrize("number, source, words", [
        (0, TITLE.replace("01", "02"), "the title `# 01 · Title`"), (0, TITLE.replace("Time", "Minutes"), "`Time: ?"),
        (-1, "## The end", "What could go wrong"), (2, "%matplotlib inline\nx = 1", "magics"), (2, "!ls", "magics"),
        (2, "files = !ls", "magics"), (2, "print?", "magics"), (2, "x = = 1", "no Python, line 1"),
        (2, "get_ipython()", "plain Python"), (2, "# NBVAL_IGNORE_OUTPUT\n1", "the tag nbval-ignore-output"),
        (2, "1;", "ends with `;`"), (2, "x = (1,\n     2);  # quiet", "line 2 ends with `;`"),
        (2, "\n".join(["x = 1"] * 31), "31 lines, at most 30"), (2, "pass", "one function or class"),
        (2, BUILD + "\nprint(1)", "one function or class"), (2, BUILD.replace("_by_hand", ""), "one function or class"),
    ])
    def test_a_fault_in_the_source(self, number, source, words):
        wrong = toy()
        wrong.notebook.cells[number].source = source
        said(guards.form(wrong), words)

    @pytest.mark.parametrize("source", ["x = ';'", "x = 1; y = 2", "y = '''\n%time\n'''", "# what?\nx = 1  # why?"])
    def test_what_only_looks_like_a_fault(self, source):
        assert guards.form(chapter(code(source))) == []

    @pytest.mark.parametrize("tag, words", [
        ("parity", "no tag of the course"), ("build:x", "no tag of the course"), ("cases:x", "no tag of the course"),
        ("nbval-skip", "no tag of the course"), ("setup", "and no other, must be the setup cell"),
        ("builds:gptcore.ngram.Ngram", "does not exist"),
    ])
    def test_a_wrong_tag(self, tag, words):
        said(guards.form(chapter(code("def f_by_hand():\n    pass", tag))), words)

    def test_too_many_and_too_long(self):
        said(guards.form(chapter(*[code("x = 1")] * 45)), "46 code cells")
        assert guards.form(chapter(*[code("x = 1")] * 44)) == []
        said(guards.form(chapter(code("\n".join(["x = 1"] * 9)))), "the median code cell has 9 lines")
        assert guards.form(chapter(code("\n".join(["x = 1"] * 8)))) == []

    def test_what_is_for_the_curious_is_not_counted(self):
        many, more = [code("x = 1")] * 44, [code("x = 1")] * 20
        curious, after = new_markdown_cell("Text.\n\n## For the curious\n\nMore."), new_markdown_cell("### A part of it")
        assert guards.form(chapter(*many, curious, *more, after, *more)) == []
        said(guards.form(chapter(*many, new_markdown_cell("For the curious"), *more)), "65 code cells")
        said(guards.form(chapter(*many, curious, *more, new_markdown_cell("## What next?"), *more)), "65 code cells",
             "under `## For the curious`")

    def test_a_setup_cell_of_its_own(self):
        own = chapter(name="02_x")
        assert guards.setup_alike([toy(), chapter(), own]) == []
        own.notebook.cells[1].source += "\nprint(1)"
        said(guards.setup_alike([toy(), chapter(), own]), "02_x, cell 2")


PIXEL = base64.b64encode(b"a picture").decode()
SHOWN = new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure size 640x480 with 1 Axes>"},
                   metadata={"image/png": {"alt": "A curve that falls to the floor"}})


def printing(text="fine", name="stdout"):
    return new_output("stream", name=name, text=text)


class TestOutputs:
    def test_the_healthy_toy(self):
        healthy = chapter(code("print('fine')", outputs=[printing()]), code("show()", outputs=[SHOWN]))
        assert guards.outputs_clean(healthy) == []

    @pytest.mark.parametrize("text", ["/home/ada/x.txt", "saved in /tmp/abc", "'/work/x/y'", "file:///data/x",
                                      "C:\\Users\\ada", "(/Users/ada/notebooks)", "/content/gptcore"])
    def test_an_absolute_path(self, text):
        said(guards.outputs_clean(chapter(code("1", outputs=[printing(text)]))), "an absolute path")
        value = new_output("execute_result", {"text/plain": text}, execution_count=2)
        said(guards.outputs_clean(chapter(code("1", outputs=[value]))), "an absolute path")

    @pytest.mark.parametrize("text", ["data/x.txt", "../data/home/x", "bits/byte", "https://github.com/home/data/x", "a / b",
                                      "1/2", "~/data/x", "and: C: 5", "nats/tmp/byte"])
    def test_what_only_looks_like_one(self, text):
        assert guards.outputs_clean(chapter(code("1", outputs=[printing(text)]))) == []

    def test_wrong_counts(self):
        for counts in ([1, 3], [None, None], [2, 1], [0, 1]):
            wrong = chapter(code("x = 1"))
            for cell, count in zip([cell.node for cell in wrong.code], counts):
                cell.execution_count = count
            said(guards.outputs_clean(wrong), "not executed once from top to bottom")

    @pytest.mark.parametrize("output, words", [
        (new_output("error", ename="ValueError", evalue="no", traceback=[]), "a stored error, ValueError"),
        (printing("<object at 0x7f12a4c0>"), "an address in memory"), (printing("100%|###|", "stderr"), "stderr"),
        (new_output("display_data", {"image/png": PIXEL}), "alternative text"),
        (new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": "A curve"}}), "alternative text"),
        (new_output("display_data", {"image/svg+xml": "<svg/>"}), "image/svg+xml"),
        (new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}), "a widget"),
        (new_output("display_data", {"text/plain": "x"}, metadata={"needs_background": "light"}), "metadata of an output"),
        (new_output("display_data", {"image/png": PIXEL}, metadata={"image/png": {"alt": "A" * 30, "width": 1}}),
         "metadata of an output"),
        (printing("x" * 300_000), "300,"),
    ])
    def test_a_fault(self, output, words):
        wrong = chapter(code("x = 1"))
        wrong.code[1].node.outputs = [output]
        said(guards.outputs_clean(wrong), words)

    def test_a_large_notebook(self):
        said(guards.outputs_clean(chapter(*[code("1", outputs=[printing("x" * 290_000)])] * 9)), "2,6")

    def test_ids_and_metadata_that_are_not_normal(self):
        for change in (lambda nb: nb.cells[2].update(id="abc"), lambda nb: nb.cells[2].update(source="y = 2"),
                       lambda nb: nb.metadata.update(widgets={}), lambda nb: nb.metadata.update(jupytext={})):
            wrong = chapter(code("x = 1"))
            change(wrong.notebook)
            said(guards.outputs_clean(wrong), "run `make notebooks`")

    def test_ignored_outputs(self, capsys):
        noisy = code("print(time())", "nbval-ignore-output", outputs=[printing()])
        sure = [code("assert x", outputs=[printing()]), code("np.testing.assert_allclose(x, y)", outputs=[printing()])]
        plain = [code("print(x)", outputs=[printing()])] * 5
        assert guards.little_ignored(chapter(noisy, sure[0], *plain)) == []
        assert guards.little_ignored(chapter(noisy, sure[1], *plain)) == []
        assert "1 of 7 outputs are not compared (14%)" in capsys.readouterr().out
        said(guards.little_ignored(chapter(noisy, sure[0], *plain[:4])), "1 of 6 outputs are not compared, at most 15%")
        said(guards.little_ignored(chapter(noisy, *plain, *sure)), "must assert")
        said(guards.little_ignored(chapter(*sure, *plain, noisy)), "must assert")


class TestTheExerciseEdition:
    @pytest.fixture
    def house(self, tmp_path):
        """A repository with one notebook, all that is generated fresh."""
        (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/ada/gptcore"\n')
        (tmp_path / "README.md").write_text("<!-- chapters -->\n<!-- /chapters -->\n")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "README.md").write_text("")
        (tmp_path / "notebooks" / "exercises").mkdir(parents=True)
        (tmp_path / "notebooks" / "01_toy.ipynb").write_text(notebooks.dumps(toy().notebook))
        notebooks.write(notebooks.wanted(tmp_path))
        return tmp_path

    def test_fresh_and_stale(self, house):
        assert notebooks.stale(house) == []
        edition = house / "notebooks" / "exercises" / "01_toy.ipynb"
        text = edition.read_text()
        edition.write_text(text.replace("your turn", "my turn"))
        assert notebooks.stale(house) == ["notebooks/exercises/01_toy.ipynb"]
        edition.write_text(text)
        complete = house / "notebooks" / "01_toy.ipynb"
        complete.write_text(complete.read_text().replace("One promise.", "Another promise."))
        assert "notebooks/exercises/01_toy.ipynb" in notebooks.stale(house)

    def untouched(self, notebook):
        return bites.untouched("01_toy", notebook, notebooks.ROOT / "notebooks")

    def test_untouched_and_written(self):
        edition = notebooks.exercise_edition(toy().notebook, "01_toy")
        assert self.untouched(edition) == []
        written = copy.deepcopy(toy().notebook)
        complaints = self.untouched(written)
        said(complaints, "cell 5: with nothing written a check passes", "cell 7: with nothing written a check passes")

    def test_a_check_that_says_nothing_and_an_edition_that_does_not_run(self):
        edition = notebooks.exercise_edition(toy(checked="surprisal").notebook, "01_toy")
        said(self.untouched(edition), "must print `not done yet`")
        edition = notebooks.exercise_edition(toy(exercise="answer = 1").notebook, "01_toy")
        said(self.untouched(edition), "must run from top to bottom", "NameError")


def test_each_complaint_is_made_once():
    @guards.guard
    def twice():
        yield from ("this", "that", "this")
    assert twice() == ["this", "that"]


def test_the_toy_is_right():
    """The by-hand version that these tests rely on, against another one."""
    space: dict = {}
    exec(BUILD, space)
    q, k = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    mask = torch.full((3, 5), -math.inf).triu(3)
    torch.testing.assert_close(space["attention_weights_by_hand"](q, k), (q @ k.mT / 2 + mask).softmax(-1))
