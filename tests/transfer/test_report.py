"""One report of several attempts."""

from __future__ import annotations

from objxfer.errors import ExitCode
from objxfer.transfer.report import EntryReport, Outcome, Report

SENT = EntryReport(b"top/a", Outcome.SENT, 5, b"d" * 32, durable=True)
FULL = EntryReport(b"top/a", Outcome.FAILED, 5, code=ExitCode.PEER_NO_SPACE, reason="full")


def begun_again(*told: EntryReport) -> Report:
    report = Report(resumable=True)
    report.begin((b"top",))
    for entry in told:
        assert report.add(entry)
    report.begin((b"top",))
    return report


def test_what_was_told_is_not_told_again() -> None:
    report = begun_again(SENT)
    assert not report.add(EntryReport(b"top/a", Outcome.UNCHANGED, 5, durable=True))
    assert report.add(EntryReport(b"top/b", Outcome.SENT, 7, kept=3))
    assert (report.files, report.bytes, report.kept) == (2, 9, 3)
    assert report.outcomes == {Outcome.SENT: 2}


def test_a_problem_counts_as_it_is_in_the_end() -> None:
    report = begun_again(FULL)
    assert (report.files, report.exit_code, report.problems) == (0, ExitCode.OK, [])
    assert report.add(FULL)
    assert report.codes == {ExitCode.PEER_NO_SPACE: 1}
    report.begin((b"top",))
    assert report.add(SENT)
    assert (report.files, report.exit_code) == (1, ExitCode.OK)
    assert report.count(Outcome.FAILED) == 0


def test_a_problem_is_told_of_what_went_well_before() -> None:
    """Its source has changed meanwhile, and what is new did not arrive."""
    report = begun_again(SENT)
    assert report.add(FULL)
    assert report.exit_code is ExitCode.PEER_NO_SPACE
    assert report.problems == [FULL]


def test_a_folder_is_told_of_where_it_is_a_problem() -> None:
    folder = EntryReport(b"top", Outcome.FAILED, code=ExitCode.REFUSED)
    report = begun_again()
    assert report.add(EntryReport(b"top", Outcome.SENT), counts=False)
    assert report.add(folder, counts=False)
    assert (report.files, report.exit_code) == (1, ExitCode.REFUSED)


def test_two_of_one_name_in_one_attempt_are_two() -> None:
    report = Report(resumable=True)
    report.begin((b"top",))
    assert report.add(SENT)
    assert report.add(SENT)
    assert report.files == 2


def test_a_kind_of_problem_is_named_however_many_others_come_first() -> None:
    report = Report()
    for number in range(200):
        report.add(EntryReport(b"%d" % number, Outcome.FAILED, code=ExitCode.REFUSED))
    report.add(FULL)
    report.add(FULL)
    assert report.problems[-1] == FULL
    assert len(report.problems) == 101
