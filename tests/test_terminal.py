import pytest

from maskwright import terminal

ODD = "a\x1b[2Jb\u202ec\udcffd\re"
HARMLESS = "a\\u001b[2Jb\\u202ec\\udcffd\\re"


@pytest.mark.parametrize("say", [terminal.say, terminal.warn])
def test_text_gives_no_orders_to_the_terminal(say: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(say)
    say(f"first\n{ODD}")
    out, err = capsys.readouterr()
    assert out + err == f"first\n{HARMLESS}\n"


def test_tables_give_no_orders_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_table(ODD, ("class",), [(f"two\n{ODD}",)])
    out = capsys.readouterr().out
    assert "two\\na" in out
    assert not {"\x1b", "\u202e", "\r"} & {*out}


def test_letters_of_all_kinds_stay() -> None:
    assert terminal.printable("größe 北京 🚗\u00a0.png") == "größe 北京 🚗\u00a0.png"
