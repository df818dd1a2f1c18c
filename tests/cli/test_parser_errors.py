import pytest

from sparsity.cli.parser_errors import one_sentence
from sparsity.diagnosis import reason_of

UNION = """Parser key "pruner":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'sparsity.callbacks.pruning.PruningCallback'>, <class 'NoneType'>]
  Errors:
    - {first}
        {second}
    - Expected a <class 'NoneType'>
  Given value type: <class 'jsonargparse._util.NestedArg'>
  Given value: NestedArg(key='density', val='nan')
"""
SYNFLOW = "Problem with given class_path 'sparsity.callbacks.SynFlow':"


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            UNION.format(first=SYNFLOW, second="Parser key \"density\":\n  Expected a <class 'float'>. Got value: nan"),
            "pruner.density must be of type float, not nan",
        ),
        (
            'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
            "    - Expected a <class 'int'>\n    - Expected a <class 'NoneType'>\n  Given value: 1.5",
            "trainer.max_epochs must be of type int, not 1.5",
        ),
        (
            'Parser key "trainer.callbacks.table":\n  Parser key "table":\n  Expected a <class \'bool\'>. Got value:',
            "trainer.callbacks.table must be of type bool, not empty",
        ),
        (
            UNION.format(first=SYNFLOW, second="Option 'densty' is not accepted"),
            "pruner: SynFlow has no argument densty; --pruner.help=SynFlow lists those it has",
        ),
        (
            UNION.format(first=SYNFLOW, second="the following arguments are required: density"),
            "pruner: SynFlow needs density; give --pruner.density",
        ),
        (
            UNION.format(first="Expected a dot import path string: SynFlo", second=""),
            "pruner: no class is called SynFlo; did you mean SynFlow?",
        ),
        (
            'Parser key "model.network":\n\n  - Expected a path but Foo either not accessible or invalid\n'
            "  - Expected a dot import path string: Foo\n",
            "model.network: no class is called Foo; --model.network.help lists the classes there are",
        ),
        ("Parser key \"config\": File does not exist: '/x.yaml'", "config: File does not exist: '/x.yaml'"),
        ("something else", "something else"),
        (
            'Parser key "pruner":\n  Parser key "scope":\n    '
            "Expected a typing.Literal['global', 'layer']. Got value: x",
            "pruner.scope must be one of global, layer, not x",
        ),
        (
            "Subcommand 'fit' does not accept option 'modle.network'",
            "a config gives modle.network, and there is no such option; --help lists those there are",
        ),
        (
            UNION.format(first="Expected an instantiatable class, but a.PruningCallback is abstract", second=""),
            "pruner names no class; give --pruner NAME, or in a config class_path, and its arguments under init_args",
        ),
        (
            "Parser key \"model\":\nUnable to load config 'm.yaml'\n  - mapping values are not allowed here\n"
            '    in "<unicode string>", line 4, column 13',
            "model: m.yaml is not valid YAML: line 4: mapping values are not allowed here",
        ),
        (
            "Parser key \"model\":\nUnable to load config 'm.yaml'",
            "model: there is no config m.yaml; its path is relative to the config that names it",
        ),
    ],
)  # fmt: skip
def test_the_parsers_errors_become_one_sentence(message: str, sentence: str) -> None:
    assert one_sentence(message, ["SynFlow", "Random"]) == sentence


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "model.optimizer.lr"),
        ("density", "pruner.density"),
        ("epochs", "trainer.max_epochs"),
        ("batch_size", "data.batch_size"),
        ("data.batchsize", "data.batch_size"),
        ("zzz", None),
    ],
)
def test_an_unknown_option_names_the_one_that_was_meant(name: str, meant: str | None) -> None:
    options = ["trainer.max_epochs", "trainer.min_epochs", "model.optimizer.lr", "pruner.density", "data.batch_size"]
    hint = f"did you mean --{meant}?" if meant else "--help lists those there are"
    assert one_sentence(f"unrecognized arguments: --{name} 3", options=options) == (
        f"there is no option --{name}; {hint}"
    )


def test_in_a_config_arguments_of_a_class_are_named_where_they_stand() -> None:
    options = ["pruner.density", "model.network", "trainer.max_epochs"]
    for name, meant in [("density", "pruner.init_args.density"), ("modle.network", "model.network")]:
        assert one_sentence(f"Subcommand 'fit' does not accept option '{name}'", options=options) == (
            f"a config gives {name}, and there is no such option; did you mean {meant}?"
        )


def test_why_a_class_could_not_be_made_leaves_out_what_else_was_tried() -> None:
    message = UNION.format(first="Problem with given class_path 'loggers.WandbLogger':", second="no wandb\n  HINT: pip")
    assert reason_of(message) == "WandbLogger: no wandb HINT: pip"
    assert reason_of("lr must be\n  positive") == "lr must be positive"


def test_of_what_is_made_within_something_else_the_inner_one_is_named() -> None:
    message = (
        "Parser key \"model.network\":\n  Errors:\n    - Problem with given class_path 'a.Network':\n"
        "        Parser key \"config\":\n          Problem with given class_path 'a.Config':\n"
        "            Option 'widht' is not accepted\n"
    )
    assert one_sentence(message) == (
        "model.network.config: Config has no argument widht; --model.network.config.help=Config lists those it has"
    )


def test_what_a_function_takes_by_any_name_is_told() -> None:
    message = (
        "Parser key \"network\":\n  - Problem with given class_path 'torchvision.models.get_model':\n"
        "      Option 'num_classes' is not accepted\n"
    )
    assert one_sentence(message) == (
        "network: get_model has no argument num_classes; --network.help=get_model lists those it has; as one of its "
        "**kwargs it is --network.dict_kwargs.num_classes"
    )
