"""Arguments that are not known: one sentence, and what was meant."""

import pytest
from SlicerDeepRegLib.commands import main

NEEDED = ("--fixed", "a", "--moving", "b", "--output", "c")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["regster"], "slicerdeepreg: command must be one of register, look, "),
        (["regster"], "it was 'regster'. Did you mean register? slicerdeepreg --help lists what there is."),
        (["register", "--fixd", "a"], "slicerdeepreg register: --fixd is not known here. Did you mean --fixed? "),
        (["register", *NEEDED, "--metod=svf"], "--metod=svf is not known here. Did you mean --method? "),
        (["register", *NEEDED, "--preset", "Fast"], "--preset must be one of fast, standard, thorough; it was 'Fast'."),
        (
            ["register", *NEEDED, "more"],
            "register: more is not known here. slicerdeepreg register --help",
        ),
        (["register"], "The following arguments are required: --fixed, --moving, --output."),
        (["models", "--jsn"], "slicerdeepreg models: --jsn is not known here. Did you mean --json?"),
        (
            ["models", "add", "x", "--nme", "y"],
            "models add: --nme is not known here. Did you mean --name?",
        ),
        (["register", *NEEDED, "--uncertainty-runs", "x"], "Argument --uncertainty-runs: invalid int value: 'x'."),
    ],
)
def test_what_is_not_known_is_said_in_one_line(capsys, arguments, sentence):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    assert left.value.code == 2 and said.out == ""
    assert sentence in said.err and said.err.count("\n") == 1


def test_an_option_may_be_shortened(capsys):
    assert main(["register", "--fixed", "nothere.nii", "--moving", "b.nii", "--out", "c", "--pres", "fast"]) == 2
    assert "nothere.nii" in capsys.readouterr().err
