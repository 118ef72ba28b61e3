"""A report survives JSON, says nothing about who ran it, and is written whole."""

import getpass
import json
import re
import socket
import stat
from dataclasses import asdict, fields, replace
from math import inf, isnan, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpstheory.claim import Verdict
from rpstheory.data import load_setting
from rpstheory.errors import DataError
from rpstheory.report.record import (
    SCHEMA,
    Environment,
    Report,
    Settings,
    Summary,
    check_writable,
    from_json,
    this_environment,
    to_json,
    write_text,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "report-schema.md"


def strictly(text):
    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@given(st.data())
def test_a_report_survives_json(any_report, data):
    report = data.draw(any_report)
    again = from_json(to_json(report))
    assert asdict(again) == asdict(report)
    assert to_json(again) == to_json(report)


@given(st.data())
def test_the_text_is_strict_json_in_utf8_with_the_documented_fields(any_report, data):
    text = to_json(data.draw(any_report))
    record = strictly(text.encode("utf-8"))
    assert set(record) == {
        "schema",
        "started",
        "seconds",
        "seed",
        "summary",
        "settings",
        "environment",
        "verdicts",
    }
    assert record["schema"] == SCHEMA
    for verdict in record["verdicts"]:
        assert set(verdict) == {f.name for f in fields(Verdict)}
        assert len(verdict["interval"]) == 2


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_numbers_that_are_not_finite_become_null_and_come_back_as_nan(make, run_of, value):
    text = to_json(run_of([make(measured=value, interval=(value, 1.0), claimed=value)]))
    assert strictly(text)["verdicts"][0]["measured"] is None
    verdict = from_json(text).verdicts[0]
    assert isnan(verdict.measured)
    assert isnan(verdict.interval[0])
    assert verdict.claimed is None


def test_a_lone_surrogate_in_a_name_survives(make, run_of):
    report = run_of([make(check="caf\udce9.npy")])
    assert from_json(to_json(report).encode("utf-8").decode()) == report


@pytest.mark.parametrize("kind", [Verdict, Settings, Environment, Summary])
def test_the_document_names_every_field(kind):
    table = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), flags=re.M))
    assert {f.name for f in fields(kind)} <= table


def test_the_document_names_every_top_level_field_and_the_schema(mixed):
    text = DOCUMENT.read_text(encoding="utf-8")
    table = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.M))
    assert set(strictly(to_json(mixed))) <= table
    assert SCHEMA in text


def test_the_summary_counts_by_status_and_required_failures(mixed):
    summary = mixed.summary
    assert (summary.checks, summary.confirmed, summary.required_failures) == (6, 4, 1)
    assert (summary.refuted, summary.inconclusive) == (1, 1)
    assert summary.draws == 6 * 48221
    assert strictly(to_json(mixed))["summary"]["refuted"] == 1


def test_settings_keep_the_name_of_a_file_and_not_its_folder():
    setting = replace(load_setting("gaussian"), data="/home/someone/private/x.npz:key")
    settings = Settings.of(setting, ["a"], 0.05, backend="numpy")
    assert settings.data == "x.npz:key"
    assert settings.n == setting.n
    assert replace(settings, data="gaussian") == Settings.of(
        load_setting("gaussian"), ["a"], 0.05, backend="numpy"
    )


def test_the_environment_names_nobody_and_no_place():
    text = json.dumps(asdict(this_environment()))
    for private in (socket.gethostname(), str(Path.home()), str(Path.cwd())):
        assert private not in text
    user = getpass.getuser()
    assert user not in re.findall(r"\w+", text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "rpstheory.report/0"}, "schema 'rpstheory.report/0' came"),
        ({"seed": "7"}, r"report\.seed is '7'; int is needed"),
        ({"seed": True}, r"report\.seed is 'True'; int is needed"),
        ({"seconds": "fast"}, "a number or null is needed"),
        ({"settings": {"data": "digits"}}, "lacks the field 'rows'"),
        ({"settings": None}, r"report\.settings is 'None'; an object is needed"),
        ({"verdicts": {}}, "a list is needed"),
        ({"verdicts": [{}]}, r"report\.verdicts\[0\] lacks the field 'claim'"),
    ],
)
def test_from_json_says_what_is_wrong(run_of, change, message):
    record = strictly(to_json(run_of([]))) | change
    with pytest.raises(DataError, match=message):
        from_json(json.dumps(record))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("status", "maybe", "one of 'confirmed', 'refuted', 'inconclusive' is needed"),
        ("interval", [1.0], "a list of 2 is needed"),
        ("colour", "red", "unknown field 'colour'"),
    ],
)
def test_from_json_says_what_is_wrong_in_a_verdict(make, run_of, field, value, message):
    record = strictly(to_json(run_of([make()])))
    record["verdicts"][0][field] = value
    with pytest.raises(DataError, match=message):
        from_json(json.dumps(record))


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"schema": NaN}', "null", "[" * 100_000])
def test_from_json_refuses_what_is_no_report(text):
    with pytest.raises(DataError, match="report: "):
        from_json(text)


def test_a_file_is_replaced_whole_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    write_text(path, "new ⟨x, y⟩", "json")
    assert path.read_bytes().decode("utf-8") == "new ⟨x, y⟩"
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    write_text(tmp_path / "link.json", "new", "json")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


@pytest.mark.parametrize("name", ["no/such/folder.json", "", "file/below.json"])
@pytest.mark.parametrize("act", [check_writable, lambda p, o: write_text(p, "x", o)])
def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path, name, act):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"json: .* cannot be written \(.*\); choose another path"):
        act(tmp_path / name, "json")


def test_checking_a_path_writes_nothing(tmp_path):
    check_writable(tmp_path / "later.json", "json")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_permission_is_one_sentence(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        try:
            (tmp_path / "probe").write_text("")
        except PermissionError:
            with pytest.raises(DataError, match="no permission"):
                check_writable(tmp_path / "x.json", "json")
        else:
            pytest.skip("this user may write anywhere")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_stream_is_written_and_not_replaced():
    write_text("/dev/null", "gone", "json")
    assert Path("/dev/null").is_char_device()


def test_equal_reports_are_equal(run_of, make):
    assert run_of([make(seconds=1.0)]) == run_of([make(seconds=2.0)])
    assert isinstance(run_of([]), Report)
