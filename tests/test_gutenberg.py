"""Books: small ones of our own with the quirks of real files, and a server on loopback."""

import csv
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from gptcore import corpora, gutenberg
from gptcore.encodings import CorpusError
from gptcore.gutenberg import Book, clean, decode, load_books, read_list, same_title

ROOT = Path(__file__).parents[1]
STORY = ("THE LANTERN\n\nby Nobody\n\n\nCHAPTER I\n\n    Indented, the lantern stood on the sill.\n\n" +
         "Nobody lit it, and it was lit; so the evening went.\n" * 40 + "\nNobody put it out.")
HEADER = "The {} of The Lantern, by Nobody\n\nThis {} is for the use of anyone.\n\nTitle: The Lantern\n\nAuthor: Nobody\n\n"
LICENCE = "\n\nThis file should be named lntrn10.txt\n\n*** START: FULL LICENSE ***\n\nThe Project Gutenberg License.\n" * 3


def book(start="*** START OF THIS PROJECT GUTENBERG EBOOK THE LANTERN ***", credit="Produced by A Volunteer\n\n\n",
         last="End of the Project Gutenberg EBook of The Lantern, by Nobody\n\n",
         end="*** END OF THIS PROJECT GUTENBERG EBOOK THE LANTERN ***", title="The Lantern", story=STORY):
    header = HEADER.format("Project Gutenberg EBook", "eBook").replace("Title: The Lantern", f"Title: {title}")
    return f"{header}{start}\n\n\n\n{credit}\n{story}\n\n\n\n\n{last}{end}{LICENCE}"


# --- what is cut --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["THIS", "THE"])
@pytest.mark.parametrize("kind", ["EBOOK", "ETEXT", "E-TEXT"])
@pytest.mark.parametrize("stars", ["*** {} ***", "***{}***", "*** {}\nAND ITS SHADOW ***", "*** {}"])
def test_markers_in_all_their_forms(word, kind, stars):
    start, end = (stars.format(f"{side} OF {word} PROJECT GUTENBERG {kind} THE LANTERN") for side in ("START", "END"))
    cleaned = clean(book(start, end=end))
    assert cleaned.text == STORY + "\n" and cleaned.title == "The Lantern" and cleaned.notes == ()


@pytest.mark.parametrize("last", [
    "End of Project Gutenberg's The Lantern, by Nobody\n\n", "End of The Project Gutenberg Etext of The Lantern\n",
    "End of this Project Gutenberg Etext of The Lantern\n", "End Project Gutenberg EBook of The Lantern, by Nobody\n\n", "",
    'The end of Project Gutenberg etext of "The\nLantern"\n\n\nI have made the following changes:\n\n3  lantren  lantern\n'
    "\n\nEnd Project Gutenberg EBook of The Lantern\n\n"])
def test_last_words_before_the_end(last):
    cleaned = clean(book(last=last))
    assert cleaned.text == STORY + "\n" and cleaned.notes == ()
    cleaned = clean(book(last=last or "End of Project Gutenberg's The Lantern", end=""))
    assert cleaned.text == STORY + "\n" and cleaned.notes == ("no end marker; cut at its last words",)


@pytest.mark.parametrize("credit", [
    "", "Produced by A Volunteer\n\n", "[Transcriber's note: spelling was kept.]\n\n", "E-text prepared by A and B\n\n\n\n",
    "This Project Gutenberg Etext was prepared by A Volunteer.\n\n\n",
    "This etext was created by A, of\nSome Town, in 1994.\n\n",
    "Corrections supplied in 2001 by A.\nIllustrations for the HTML format by B.\n\n\n\nProduced by C\n\n",
    "This etext was done by a number of anonymous volunteers of the\nGutenberg Project, to whom we owe thanks.\n\n"])
def test_credits_are_cut_and_the_first_line_keeps_its_indent(credit):
    assert clean(book(credit=credit)).text == STORY + "\n"
    indented = "          THE LANTERN\n\n" + STORY
    assert clean(book(credit=credit, story=indented)).text == indented + "\n"


def test_files_of_the_nineties_have_a_small_print_and_no_marker():
    small = "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nWhy is this here?\n{}\n\n\n"
    for ending in ("*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
                   "*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.07.02.92*END*"):
        cleaned = clean(book(small.format(ending), last="End of The Project Gutenberg Etext of The Lantern\n", end=""))
        assert cleaned.text == STORY + "\n"
        assert cleaned.notes == ("no start marker; cut behind the small print", "no end marker; cut at its last words")
    both = book(small.format(ending) + "*** START OF THE PROJECT GUTENBERG EBOOK THE LANTERN ***")
    assert clean(both).text == STORY + "\n" and clean(both).notes == ()


def test_what_is_missing_is_said_and_nothing_is_lost():
    bare = clean(STORY)
    assert bare.text == STORY + "\n" and (bare.before, bare.behind) == (0, 0)
    assert bare.notes == ("no start marker, nothing cut at its beginning", "no end marker, nothing cut at its end")
    cleaned = clean(book(story=STORY + "\n\nPrinted for Project Gutenberg.\n\nMore."))
    assert cleaned.notes == ("still speaks of Gutenberg in line 53",)
    assert cleaned.text.split("\n")[52] == "Printed for Project Gutenberg."


def test_notes_of_the_transcriber_within_the_book():
    cleaned = clean(book(story=STORY + "\n[Transcriber's Note: 'lamp'\nwas 'lump'.]\nAnd so on."))
    assert cleaned.text == STORY + "\n\nAnd so on.\n" and cleaned.notes == ("1 note of the transcriber cut",)


def test_a_story_that_is_shorter_than_its_licence():
    assert clean(book(story="A lamp. The end.") + LICENCE * 99).text == "A lamp. The end.\n"


def test_the_cut_is_counted():
    text = book()
    cleaned = clean(text)
    assert text[cleaned.before:].startswith(STORY) and text[len(text) - cleaned.behind:].startswith("End of the Project")


# --- bytes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("raw", "text", "said"), [
    (b"\xef\xbb\xbfa\r\nb\rc\n", "a\nb\nc\n", []),
    ("a\r\n".encode("utf-16"), "a\n", []),
    (b"Character set encoding: ISO-8859-1\r\n\xa3", "Character set encoding: ISO-8859-1\n£",
     ["was not UTF-8 but iso-8859-1"]),
    (b"Character set encoding: ASCII\n\xa3", "Character set encoding: ASCII\n£", ["was not UTF-8 but cp1252"]),
    (b"Character set encoding: UTF-8\n\x93a\x94", "Character set encoding: UTF-8\n“a”", ["was not UTF-8 but cp1252"]),
    (b"Character set encoding: UTF-16\n\x93", "Character set encoding: UTF-16\n“", ["was not UTF-8 but cp1252"]),
    (b"Character set encoding: CP437\n\x9c", "Character set encoding: CP437\n£", ["was not UTF-8 but cp437"]),
    (b"Character set encoding: rot13\n\x81", "Character set encoding: rot13\n\x81", ["was not UTF-8 but latin-1"]),
    (b"Character set encoding: ISO-8859-1\n\xc2\xa3", "Character set encoding: ISO-8859-1\n£", []),
])
def test_bytes_are_mended(raw, text, said):
    assert decode(raw, "1.txt") == (text, said)


@pytest.mark.parametrize("raw", [b"\n <!DOCTYPE html><p>Are you a robot?", b"PK\x03\x04\0\0"])
def test_what_is_no_book_is_refused(raw):
    with pytest.raises(CorpusError, match=r"pg1.txt is a web page or some other file"):
        decode(raw, "pg1.txt")


# --- titles and lists ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "found", "same"), [
    ("Frankenstein", "Frankenstein; or The Modern Prometheus", True), ("The Time Machine", "the time machine", True),
    ("Flatland", "Flatland: A Romance of Many Dimensions (Illustrated)", True),
    ("Looking Backward", "Looking Backward, 2000", True), ("Flatland: A Romance", "Flatland", True),
    ("Strange Case of Dr Jekyll", "The Strange Case Of Dr. Jekyll", True),
    ("20000 Leagues under the Sea", "20,000 Leagues Under the Sea", True), ("Émile", "Emile", True), ("A or B", "A", True),
    ("Twenty Leagues | 20,000 Leagues", "20,000 Leagues", True), ("A King's Court", "A King’s Court", True),
    ("The Land", "The Land That Time Forgot", False), ("The Lost World", "The Great Gatsby", False),
    ("20 Leagues", "20,000 Leagues", False), ("The Gods of Mars", "The Warlord of Mars", False), ("", "", False),
    ("The Orchard", "The Orphan", False),
])
def test_titles_are_compared_without_what_does_not_matter(asked, found, same):
    assert same_title(asked, found) is same
    assert " | " in asked or same_title(found, asked) is same


def write_list(path, rows="84,The Lantern\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("id,title\n" + rows)
    return path


def test_lists_are_read(tmp_path):
    path = tmp_path / "l.csv"
    path.write_text('\ufeffid,title,author,verified\n84,"A, B | C",Me,file\n35,D,,\n')
    assert read_list(path) == [Book(84, "A, B | C", "Me", "file"), Book(35, "D", "", "no")]
    assert read_list(path)[0].name == "A, B"


@pytest.mark.parametrize(("text", "message"), [
    ("", "columns id and title"), ("id;title\n1;A\n", "columns id and title"), ("id,title\n", "columns id and title"),
    ("id,title\n1,A\nx,B\n", "book 2 of l.csv: it needs a number and a title"), ("id,title\n1,\n", "book 1 of l.csv"),
    ("id,title\n1,A\n1,B\n", "book 2 of l.csv: book 1 is named twice"), ("id,title\n1\n", "book 1 of l.csv: it needs"),
])
def test_lists_that_are_wrong_say_where(tmp_path, text, message):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_list(tmp_path / "l.csv")


def test_the_list_that_is_here():
    with open(ROOT / "data" / "early_science_fiction.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    books = read_list(ROOT / "data" / "early_science_fiction.csv")
    assert len(books) == len(rows) == 25 and all(book.author and book.verified for book in books)
    assert sum(book.verified == "no" for book in books) == 2
    first, second = (book.name for book in books[:2])
    assert same_title("Frankenstein; Or, The Modern Prometheus", first) and not same_title(first, second)


# --- files at hand ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nowhere_else(tmp_path, monkeypatch):
    """No test sees this machine's data folders, cache, proxy or network."""
    for name in ("GPTCORE_DATA", "GPTCORE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(corpora, "KAGGLE_INPUT", tmp_path / "kaggle")
    monkeypatch.setattr(corpora.pooch, "os_cache", lambda project: tmp_path / "cache" / project)


@pytest.mark.parametrize("name", ["pg84.txt", "84-0.txt", "84.txt.utf-8", "84.txt", "84-8.txt", "The-Lantern_84.txt"])
@pytest.mark.parametrize("where", ["lists", "data", "kaggle/some-books", "kaggle/datasets/someone/some-books"])
def test_a_book_at_hand_is_not_fetched(tmp_path, monkeypatch, name, where):
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    (tmp_path / where).mkdir(parents=True, exist_ok=True)
    (tmp_path / where / name).write_text(book())
    (tmp_path / where / "pg184.txt").write_text(book(title="Another"))
    if where == "data":
        monkeypatch.setenv("GPTCORE_DATA", str(tmp_path / "data"))
    corpus = corpora.load(write_list(tmp_path / "lists" / "mine.csv"))
    assert (corpus.name, corpus.source, corpus.names) == ("mine", "a list of books", ("The Lantern",))
    assert corpus.train[0] + corpus.validation[0] == STORY + "\n"


def test_books_keep_the_order_of_the_list_and_notes_name_them(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    rows = [f"{i},Book {i}" for i in range(11, 0, -1)]
    for i in range(1, 12):
        (tmp_path / f"{i}.txt").write_bytes(book(title=f"Book {i}", story=f"Story {i} £.\n" + STORY,
                                                 end="" if i == 3 else "*** END OF THE PROJECT GUTENBERG EBOOK ***",
                                                 ).encode("latin-1" if i == 2 else "utf-8"))
    corpus = corpora.load(write_list(tmp_path / "l.csv", "\n".join(rows)))
    assert [text.split("\n")[0] for text in corpus.train + corpus.validation] == [f"Story {i} £." for i in range(11, 0, -1)]
    assert len(corpus.validation) == 2 and corpus.split == "the last 10 % of 11 documents, by count"
    assert corpus.notes == ("Book 3: no end marker; cut at its last words", "Book 2: was not UTF-8 but cp1252")


def test_wrong_books_are_refused_all_at_once(tmp_path):
    for i, title in ((1, "The Lantern"), (2, "The Great Ball"), (3, "Julio and Romette")):
        (tmp_path / f"{i}.txt").write_text(book(title=title))
    (tmp_path / "4.txt").write_text("Some words about The Cup, and no header.\n" + STORY)
    books = [Book(1, "The Lantern"), Book(2, "The Lamp"), Book(3, "The Moon"), Book(4, "The Cup")]
    with pytest.raises(CorpusError, match=r"2 of 4 ids hold other books:\n  2 holds 'The Great Ball', not 'The Lamp'\n"
                                          r"  3 holds 'Julio and Romette', not 'The Moon'\ncorrect the list"):
        load_books(books, tmp_path / "cache", [tmp_path], offline=True)
    with pytest.raises(CorpusError, match="4 holds 'no title line', not 'The Sun'"):
        load_books([Book(4, "The Sun")], tmp_path / "cache", [tmp_path], offline=True)


def test_an_old_header_has_its_title_in_the_first_line():
    for line in ("The Project Gutenberg Etext of The Lantern, by Nobody",
                 "*Project Gutenberg's Etext of The Lantern, by Nobody*", "Project Gutenberg's The Lantern, by Nobody"):
        assert clean(line + "\n\n" + STORY).title == "The Lantern"


def test_what_is_missing_offline_is_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    (tmp_path / "pg1.txt").write_text(book())
    path = write_list(tmp_path / "l.csv", "1,The Lantern\n22,The Lamp\n333,The Moon | Moon\n")
    with pytest.raises(CorpusError, match=r"2 of 3 books are not on this machine and GPTCORE_OFFLINE .* as pg84.txt or "
                                          r"84-0.txt for book 84. Missing:\n      22  The Lamp\n     333  The Moon$"):
        corpora.load(path)


@pytest.mark.parametrize(("story", "message"), [("", "nothing is left of The Lantern"),
                                                ("a <|endoftext|> b", r"The Lantern holds <\|endoftext")])
def test_books_that_cannot_be_used(tmp_path, story, message):
    (tmp_path / "84.txt").write_text(book(story=story, credit=""))
    with pytest.raises(CorpusError, match=message):
        corpora.load(write_list(tmp_path / "l.csv"))


# --- downloads ----------------------------------------------------------------------------------------------------------


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, time.monotonic()))
        assert self.headers["User-Agent"].startswith("gptcore"), "who asks is said"
        number = int(self.path.rsplit("pg", 1)[1].removesuffix(".txt"))
        if number == 404:
            return self.send_error(404)
        body = b"<html>Are you a robot?</html>" if number == 13 else book(title=f"Book {number}").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if number != 500 else body[:300])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


def fetched(server, tmp_path, *numbers, **options):
    books = [Book(i, f"Book {i}") for i in numbers]
    return load_books(books, tmp_path / "cache", base_url=server.url, progress=False, **options)


def cached(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_books_are_fetched_once_and_with_pauses(server, tmp_path, capfd):
    assert gutenberg.PAUSE >= 2 and fetched(server, tmp_path, 1, 2, 3, pause=0.1) == ([STORY + "\n"] * 3, ())
    paths, times = zip(*server.asked)
    assert paths == tuple(f"/cache/epub/{i}/pg{i}.txt" for i in (1, 2, 3))
    assert all(after - before >= 0.1 for before, after in pairwise(times))
    fetched(server, tmp_path, 3, 2, 1)  # at once: two pauses would be four seconds more, and nobody is asked
    assert len(server.asked) == 3 and cached(tmp_path) == ["pg1.txt", "pg2.txt", "pg3.txt"]
    assert capfd.readouterr() == ("", ""), "no path of this machine is printed"


@pytest.mark.parametrize(("number", "message"), [
    (404, r"book 404 could not be fetched .*404.*what was fetched is kept. Try again later; or put .*\n     404  Book 404"),
    (500, "book 500 could not be fetched"), (13, "http://127.0.0.1:.* sent something else than book 13"),
])
def test_failed_downloads_keep_what_came_before(server, tmp_path, number, message):
    with pytest.raises(CorpusError, match=f"(?s){message}"):
        fetched(server, tmp_path, 1, number, 2, pause=0)
    assert cached(tmp_path) == ["pg1.txt"] and len(server.asked) == 2
    assert fetched(server, tmp_path, 1, 2, pause=0)[1] == () and len(server.asked) == 3


def test_a_list_is_loaded_from_the_network_into_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setattr(gutenberg, "BASE_URL", server.url)
    assert corpora.load(write_list(tmp_path / "l.csv", "7,Book 7\n")).names == ("Book 7",)
    assert cached(tmp_path / "cache") == ["pg7.txt"]
    monkeypatch.setenv("GPTCORE_OFFLINE", "1")
    assert corpora.load(tmp_path / "l.csv").names == ("Book 7",) and len(server.asked) == 1


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(CorpusError, match="book 1 could not be fetched"):
        load_books([Book(1, "A")], tmp_path, base_url="http://127.0.0.1:9", progress=False)
